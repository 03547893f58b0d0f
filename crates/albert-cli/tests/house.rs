//! The rules of the house that can be counted, over all sources of the workspace.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// A function is read in one look.
const FUNCTION_LINES_MAX: usize = 70;
/// A file has one subject.
const FILE_LINES_MAX: usize = 600;

/// The modules of the library, lowest first: each may use those before it.
const MODULES: [&str; 17] = [
    "error",
    "files",
    "records",
    "scores",
    "random",
    "config",
    "tasks",
    "tokenizer",
    "data",
    "backend",
    "model",
    "checkpoint",
    "hub",
    "train",
    "predict",
    "evaluate",
    "finetune",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Every Rust file of the workspace, by its path from the root.
fn sources() -> BTreeMap<PathBuf, String> {
    fn walk(directory: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(&root().join("crates"), &mut found);
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap();
        (path.strip_prefix(root()).unwrap().to_owned(), text)
    };
    found.into_iter().map(read).collect()
}

/// The functions of a file that are too long.
#[derive(Default)]
struct LongFunctions(Vec<String>);

impl LongFunctions {
    fn look_at(&mut self, name: &syn::Ident, whole: proc_macro2::Span) {
        let lines = whole.end().line + 1 - whole.start().line;
        if lines > FUNCTION_LINES_MAX {
            self.0.push(format!("{name} has {lines} lines"));
        }
    }

    fn of(text: &str) -> Vec<String> {
        let mut functions = Self::default();
        functions.visit_file(&syn::parse_file(text).unwrap());
        functions.0
    }
}

impl<'ast> Visit<'ast> for LongFunctions {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.look_at(&item.sig.ident, item.span());
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.look_at(&item.sig.ident, item.span());
        visit::visit_impl_item_fn(self, item);
    }
}

#[test]
fn functions_and_files_are_short() {
    let mut broken = Vec::new();
    for (path, text) in sources() {
        let name = path.display();
        let lines = text.lines().count();
        if lines > FILE_LINES_MAX {
            broken.push(format!("{name} has {lines} lines, at most {FILE_LINES_MAX}"));
        }
        broken
            .extend(LongFunctions::of(&text).iter().map(|function| format!("{name}: {function}")));
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn the_counter_of_lines_can_count() {
    let function = |lines: usize| format!("impl X {{ fn f() {{\n{}}} }}", "a();\n".repeat(lines));
    assert_eq!(LongFunctions::of(&function(68)), Vec::<String>::new());
    assert_eq!(LongFunctions::of(&function(70)), ["f has 72 lines"]);
}

/// Imports of `crate::…` in a module of the library that are not below it.
fn upward_imports(module: &str, text: &str) -> Vec<String> {
    let rank = |name: &str| MODULES.iter().position(|module| *module == name);
    let own = rank(module).unwrap_or_else(|| panic!("module {module} has no rank"));
    let mut upward = Vec::new();
    for part in text.split("crate::").skip(1) {
        let name: String = part.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        if rank(&name).is_some_and(|other| other > own) {
            upward.push(name);
        }
    }
    upward
}

#[test]
fn imports_run_one_way() {
    let library = Path::new("crates/albert/src");
    for (path, text) in sources() {
        let Ok(inside) = path.strip_prefix(library) else { continue };
        let top = inside.components().next().unwrap().as_os_str().to_str().unwrap();
        let module = top.trim_end_matches(".rs");
        if module != "lib" {
            assert_eq!(upward_imports(module, &text), Vec::<String>::new(), "{}", path.display());
        }
    }
    assert_eq!(upward_imports("data", "use crate::model::{Batch};"), ["model"]);
}

/// Which of the workspace's crates a crate may use.
#[test]
fn crates_use_those_below_them() {
    for (package, allowed) in [
        ("albert-kernels", &[][..]),
        ("albert", &["albert-kernels"]),
        ("albert-server", &["albert"]),
        ("albert-cli", &["albert", "albert-server"]),
    ] {
        let path = root().join("crates").join(package).join("Cargo.toml");
        let manifest: toml::Table = std::fs::read_to_string(path).unwrap().parse().unwrap();
        let dependencies = manifest["dependencies"].as_table().unwrap();
        let own: Vec<&String> =
            dependencies.keys().filter(|name| name.starts_with("albert")).collect();
        assert_eq!(own, allowed, "{package}");
    }
}

#[test]
fn only_the_kernels_say_unsafe() {
    let word = concat!("un", "safe");
    for (path, text) in sources() {
        if path.starts_with("crates/albert-kernels") {
            continue;
        }
        let says = text.lines().any(|line| {
            let code = line.split("//").next().unwrap_or_default();
            code.contains(&format!("{word} ")) && !code.contains('"') && !code.contains('!')
        });
        assert!(!says, "{} says {word}", path.display());
    }
    for crate_root in [
        "crates/albert/src/lib.rs",
        "crates/albert-server/src/lib.rs",
        "crates/albert-cli/src/main.rs",
    ] {
        let text = std::fs::read_to_string(root().join(crate_root)).unwrap();
        assert!(text.contains(&format!("#![forbid({word}_code)]")), "{crate_root}");
    }
}

#[test]
fn every_file_says_what_it_is() {
    for (path, text) in sources() {
        assert!(text.starts_with("//!"), "{} does not begin with //!", path.display());
    }
}

#[test]
fn the_architecture_page_stays_short() {
    let page = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    assert!(page.lines().count() < 300, "ARCHITECTURE.md has 300 lines or more");
}
