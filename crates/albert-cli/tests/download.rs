//! `albert download`, and IDs where a model is wanted, against a hub in this process that does what
//! the real one does, and what it should not.

mod common;
#[path = "download/server.rs"]
mod server;

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use common::{SafeTensors, Work, assert_names, succeed, the_sentence};
use server::{Answer, Seen, Server};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const ID: &str = "owner/tiny";
const WEIGHTS: &str = "model.safetensors";
const SECRET: &str = "Bearer hf_secret";

type Files = BTreeMap<String, Vec<u8>>;

/// The files of a tiny model.
static MODEL: LazyLock<Files> = LazyLock::new(|| {
    let work = Work::with_run(1);
    let entries = fs::read_dir(work.path("run/model")).unwrap();
    let name = |entry: fs::DirEntry| entry.file_name().into_string().unwrap();
    let names = entries.map(|entry| name(entry.unwrap()));
    names.map(|name| (name.clone(), work.read(&format!("run/model/{name}")))).collect()
});

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A hub with one repository.
struct Hub {
    files: Files,
    /// Said instead of the right list.
    listing: Option<Value>,
    /// Said instead of the right tags, in front of "-NAME".
    etag: Option<String>,
    /// What the hub declares beyond the size of the weights.
    more: i64,
    needs_token: bool,
    ignores_ranges: bool,
    /// Where weights are redirected to.
    elsewhere: Option<String>,
    /// The next answers with weights end after so many bytes; 0 is an error of the server.
    breaks: Mutex<Vec<usize>>,
}

impl Hub {
    fn new() -> Self {
        Self {
            files: MODEL.clone(),
            listing: None,
            etag: None,
            more: 0,
            needs_token: false,
            ignores_ranges: false,
            elsewhere: None,
            breaks: Mutex::default(),
        }
    }

    fn start(self) -> Server {
        Server::start(move |request| self.answer(request))
    }

    fn answer(&self, request: &Seen) -> Answer {
        let allowed = !self.needs_token || request.token.as_deref() == Some(SECRET);
        if let Some(rest) = request.path.strip_prefix("/api/models/") {
            return match rest.split_once("/revision/") {
                Some((ID, _)) if !allowed => Answer::error(401, "GatedRepo"),
                Some((ID, "main" | "v1" | "refs%2Fpr%2F1" | COMMIT)) => Answer::json(&self.list()),
                Some((ID, _)) => Answer::error(404, "RevisionNotFound"),
                _ => Answer::error(404, "RepoNotFound"),
            };
        }
        let name = request.path.strip_prefix(&format!("/{ID}/resolve/{COMMIT}/"));
        match name.and_then(|name| Some((name, self.files.get(name)?))) {
            Some(_) if !allowed => Answer::error(401, "GatedRepo"),
            Some((name, bytes)) => self.file(request, name, bytes),
            None => Answer::error(404, "EntryNotFound"),
        }
    }

    fn list(&self) -> Value {
        let others = ["onnx/model.onnx", "tf_model.h5", "flax_model.msgpack", "README.md"];
        let names = self.files.keys().map(String::as_str).chain(others);
        let siblings: Vec<Value> = names.map(|name| json!({"rfilename": name})).collect();
        let listing = json!({"id": ID, "sha": COMMIT, "siblings": siblings, "private": false});
        self.listing.clone().unwrap_or(listing)
    }

    fn file(&self, request: &Seen, name: &str, bytes: &[u8]) -> Answer {
        let is_large = name.ends_with(".safetensors") || name.ends_with(".bin");
        let tag = match &self.etag {
            Some(etag) => format!("{etag}-{name}"),
            None if is_large => sha256(bytes),
            None => sha256(bytes)[..40].to_owned(),
        };
        let more = if is_large { self.more } else { 0 };
        let declared = (bytes.len() as i64 + more).to_string();
        let mut answer = Answer { status: 200, ..Answer::default() };
        if is_large {
            answer.headers.push(("x-linked-etag", format!("\"{tag}\"")));
            answer.headers.push(("x-linked-size", declared));
        } else {
            answer.headers.push(("etag", format!("W/\"{tag}\"")));
        }
        if let Some(url) = self.elsewhere.as_ref().filter(|_| is_large) {
            answer.status = 302;
            answer.headers.push(("location", format!("{url}/{name}")));
            return answer;
        }
        let next = (is_large && request.method == "GET").then(|| self.breaks.lock().unwrap().pop());
        let ends_after = next.flatten();
        if ends_after == Some(0) {
            return Answer { status: 503, ..Answer::default() };
        }
        let start = request.start.filter(|_| !self.ignores_ranges).unwrap_or(0);
        if start > 0 {
            answer.status = 206;
            let range = format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len());
            answer.headers.push(("content-range", range));
        }
        answer.body = bytes.get(start..).unwrap_or_default().to_vec();
        answer.ends_after = ends_after;
        if more > 0 && request.method == "GET" {
            let length = (answer.body.len() as i64 + more).to_string();
            answer.headers.push(("content-length", length));
        }
        answer
    }
}

/// `albert` that asks this server and keeps its cache in `home`.
fn albert(work: &Work, url: &str, arguments: &str) -> Command {
    let mut command = work.albert(arguments);
    toward(&mut command, url);
    command
}

fn toward(command: &mut Command, url: &str) {
    for variable in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "HF_TOKEN_PATH", "HF_HUB_CACHE"] {
        command.env_remove(variable).env_remove(variable.to_lowercase());
    }
    for variable in ["HF_HUB_OFFLINE", "HF_TOKEN"] {
        command.env_remove(variable);
    }
    command.env("HF_ENDPOINT", url).env("HF_HOME", "home");
}

fn fails(command: &mut Command) -> String {
    the_sentence(&command.output().unwrap(), 1)
}

/// Where the files of the model are in the cache.
fn snapshot(work: &Work, name: &str) -> Vec<u8> {
    work.read(&format!("home/hub/models--owner--tiny/snapshots/{COMMIT}/{name}"))
}

/// The names in the directory of blobs.
fn blobs(work: &Work) -> Vec<String> {
    let entries = fs::read_dir(work.path("home/hub/models--owner--tiny/blobs")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

const REFERENCE: &str = "home/hub/models--owner--tiny/refs/main";
const FILL: &str = "fill-mask --json --precision f32 --model";

fn fill(command: &mut Command) -> String {
    succeed(command.arg("Ba [MASK]."))
}

#[test]
fn a_model_is_downloaded_once_and_used_without_a_network() {
    let work = Work::empty();
    let server = Hub::new().start();
    let text = succeed(&mut albert(&work, &server.url, &format!("download {ID} --json")));
    let summary: Value = serde_json::from_str(&text).unwrap();
    let names: Vec<&str> =
        summary["files"].as_array().unwrap().iter().map(|f| f["name"].as_str().unwrap()).collect();
    let mut sorted = names.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, MODEL.keys().collect::<Vec<_>>());
    assert_eq!(names.last(), Some(&WEIGHTS), "weights come last");
    let bytes: usize = MODEL.values().map(Vec::len).sum();
    assert_eq!(summary["bytes"], bytes);
    assert_eq!((&summary["commit"], &summary["revision"]), (&json!(COMMIT), &json!("main")));
    for (name, bytes) in &*MODEL {
        assert!(&snapshot(&work, name) == bytes, "{name} differs");
    }
    // The layout is that of Python: links into blobs, and the commit of the branch.
    assert_eq!(work.read_text(REFERENCE), COMMIT);
    let link = work.path(&format!("home/hub/models--owner--tiny/snapshots/{COMMIT}/{WEIGHTS}"));
    let target = Path::new("../../blobs").join(sha256(&MODEL[WEIGHTS]));
    assert_eq!(fs::read_link(link).unwrap(), target);

    for (name, bytes) in &*MODEL {
        work.write(&format!("plain/{name}"), bytes);
    }
    let expected = fill(&mut work.albert(&format!("{FILL} plain")));
    // `work.albert` is offline; and where it is not, what is there is not asked for again.
    let mut offline = work.albert(&format!("{FILL} {ID}"));
    assert_eq!(fill(offline.env("HF_HOME", "home")), expected);
    let asked = server.count();
    assert_eq!(fill(&mut albert(&work, &server.url, &format!("{FILL} {ID}"))), expected);
    assert_eq!(fill(&mut albert(&work, &server.url, &format!("{FILL} {ID}@{COMMIT}"))), expected);
    assert_eq!(server.count(), asked);
    succeed(&mut albert(&work, &server.url, &format!("download {ID}")));
    assert_eq!(server.count(), asked + 1, "only the list is asked for again");
}

#[test]
fn every_command_takes_an_id() {
    let work = Work::empty();
    let server = Hub::new().start();
    work.write("ids.jsonl", "{\"input_ids\": [2, 9, 3]}\n");
    for command in [
        "inspect owner/tiny".to_owned(),
        "convert --from owner/tiny@v1 --to converted".to_owned(),
        "forward --model owner/tiny --input ids.jsonl --output out.safetensors".to_owned(),
        "tokenizer encode --model owner/tiny@refs/pr/1 bala".to_owned(),
        "order --model owner/tiny bala bala".to_owned(),
        "bench --model owner/tiny --shape 1x4 --precision f32".to_owned(),
    ] {
        succeed(&mut albert(&work, &server.url, &command));
    }
    // A path goes before an ID.
    work.write("owner/tiny/config.json", "{}");
    let sentence = fails(&mut albert(&work, &server.url, "inspect owner/tiny"));
    assert_names(&sentence, &["owner/tiny/config.json"]);
}

#[test]
fn a_plain_directory_is_made_on_request() {
    let work = Work::empty();
    let server = Hub::new().start();
    let command = format!("download {ID}@{COMMIT} --output plain");
    let text = succeed(&mut albert(&work, &server.url, &command));
    assert!(text.starts_with("plain\n") && text.contains("files"), "{text}");
    for (name, bytes) in &*MODEL {
        assert!(&work.read(&format!("plain/{name}")) == bytes, "{name} differs");
        assert!(!work.path(&format!("plain/{name}")).is_symlink());
    }
    // What is edited in place there is not edited in the cache.
    for name in MODEL.keys().filter(|name| *name != WEIGHTS) {
        let mut file =
            fs::File::options().append(true).open(work.path("plain").join(name)).unwrap();
        std::io::Write::write_all(&mut file, b" ").unwrap();
        assert!(snapshot(&work, name) == MODEL[name], "{name} of the cache has changed");
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        assert_eq!(fs::metadata(work.path("plain").join(WEIGHTS)).unwrap().nlink(), 2);
    }
    let asked = server.count();
    let sentence = fails(&mut albert(&work, &server.url, &command));
    assert_names(&sentence, &["plain", "holds something else", "--output"]);
    assert_eq!(server.count(), asked);
}

#[test]
fn a_broken_connection_is_taken_up_where_it_broke() {
    let work = Work::empty();
    let half = MODEL[WEIGHTS].len() / 2;
    let hub = Hub::new();
    // Taken from the end: half of the file, then a hundred bytes of the rest, then all.
    *hub.breaks.lock().unwrap() = vec![100, half];
    let server = hub.start();
    succeed(&mut albert(&work, &server.url, &format!("download {ID}")));
    let starts: Vec<_> = server.seen("GET", WEIGHTS).iter().map(|seen| seen.start).collect();
    assert_eq!(starts, [None, Some(half), Some(half + 100)]);
    assert!(snapshot(&work, WEIGHTS) == MODEL[WEIGHTS]);
}

#[test]
fn what_passes_is_asked_again() {
    let work = Work::empty();
    let hub = Hub::new();
    let asked = Mutex::new(BTreeMap::<(String, String), usize>::new());
    let server = Server::start(move |request| {
        let key = (request.method.clone(), request.path.clone());
        let times = *asked.lock().unwrap().entry(key).and_modify(|n| *n += 1).or_insert(1);
        let is_list = request.path.starts_with("/api/");
        match times {
            1 if is_list || request.method == "HEAD" => Answer { status: 503, ..Answer::default() },
            2 if is_list => Answer { ends_after: Some(9), ..hub.answer(request) },
            _ => hub.answer(request),
        }
    });
    succeed(&mut albert(&work, &server.url, &format!("download {ID}")));
    assert!(snapshot(&work, WEIGHTS) == MODEL[WEIGHTS]);
    assert_eq!(server.seen("GET", "/main").len(), 3);
    assert_eq!(server.seen("HEAD", WEIGHTS).len(), 2);
    // What does not pass is said, and what never will is not asked again.
    let server = Server::start(|_| Answer { status: 500, ..Answer::default() });
    let sentence = fails(&mut albert(&work, &server.url, "download owner/other"));
    assert_names(&sentence, &["answers 500 for owner/other", "try again later"]);
    assert_eq!(server.count(), 4);
    let server = Hub::new().start();
    fails(&mut albert(&work, &server.url, "download owner/other"));
    assert_eq!(server.count(), 1);
}

#[test]
fn an_attempt_goes_on_from_the_one_before() {
    let work = Work::empty();
    let half = MODEL[WEIGHTS].len() / 2;
    let hub = Hub::new();
    *hub.breaks.lock().unwrap() = vec![0, 0, 0, half];
    let server = hub.start();
    let command = format!("download {ID}");
    let sentence = fails(&mut albert(&work, &server.url, &command));
    assert_names(&sentence, &["503", ID, &format!("{half} of"), "kept"]);
    assert!(!work.path(REFERENCE).exists(), "what is not whole is not to be found");
    let mut offline = work.albert(&format!("inspect {ID}@{COMMIT}"));
    assert_names(&fails(offline.env("HF_HOME", "home")), &["not in the cache"]);
    succeed(&mut albert(&work, &server.url, &command));
    let last = server.seen("GET", WEIGHTS).pop().unwrap();
    assert_eq!(last.start, Some(half));
    assert!(snapshot(&work, WEIGHTS) == MODEL[WEIGHTS]);
    assert!(!blobs(&work).iter().any(|name| name.ends_with(".incomplete")));
}

#[test]
fn a_server_without_ranges_begins_again() {
    let work = Work::empty();
    let mut hub = Hub::new();
    hub.ignores_ranges = true;
    *hub.breaks.lock().unwrap() = vec![MODEL[WEIGHTS].len() / 2];
    let server = hub.start();
    succeed(&mut albert(&work, &server.url, &format!("download {ID}")));
    assert!(snapshot(&work, WEIGHTS) == MODEL[WEIGHTS]);
}

#[test]
fn bytes_with_another_sum_are_deleted() {
    let work = Work::empty();
    let mut hub = Hub::new();
    hub.files.get_mut(WEIGHTS).unwrap()[1000] ^= 1;
    let elsewhere = hub.start();
    let mut hub = Hub::new();
    hub.elsewhere = Some(format!("{}/{ID}/resolve/{COMMIT}", elsewhere.url));
    let server = hub.start();
    let sentence = fails(&mut albert(&work, &server.url, &format!("download {ID}")));
    assert_names(&sentence, &[WEIGHTS, ID, "SHA-256", &sha256(&MODEL[WEIGHTS]), "deleted"]);
    assert!(!blobs(&work).iter().any(|name| name.starts_with(&sha256(&MODEL[WEIGHTS]))));
    assert!(!work.path(REFERENCE).exists());
}

#[test]
fn what_is_not_there_is_named() {
    let work = Work::empty();
    let server = Hub::new().start();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let closed = format!("http://{closed}");
    let before = work.snapshot("");
    for (url, arguments, parts) in [
        (&server.url, "download owner/other", &["no model owner/other"][..]),
        (&server.url, "download owner/tiny@v9", &[ID, "no branch, tag or commit", "v9"]),
        (&server.url, "download a/b/c", &["a/b/c", "not the ID of a model", "OWNER/NAME"]),
        (&server.url, "download ../tiny", &["../tiny", "not the ID of a model"]),
        (&server.url, "download owner/tiny@../v1", &["../v1", "not the name of a branch"]),
        (&server.url, "inspect owner/other", &["owner/other does not exist", "no model"]),
        (&server.url, "inspect ./owner/tiny", &["./owner/tiny does not exist"]),
        (&closed, "download owner/tiny", &["reaching", &closed, "refused"]),
        (&"nonsense".to_owned(), "download owner/tiny", &["HF_ENDPOINT", "nonsense", "http://"]),
    ] {
        assert_names(&fails(&mut albert(&work, url, arguments)), parts);
    }
    let mut offline = albert(&work, &server.url, "download owner/tiny@v1");
    let sentence = fails(offline.env("HF_HUB_OFFLINE", "1"));
    let parts = ["owner/tiny@v1 is not in the cache", "HF_HUB_OFFLINE", "`albert download owner"];
    assert_names(&sentence, &parts);
    assert!(before == work.snapshot(""), "a failure leaves nothing");
}

#[test]
fn a_token_goes_to_the_hub_alone() {
    let work = Work::empty();
    let elsewhere = Hub::new().start();
    let mut hub = Hub::new();
    hub.needs_token = true;
    hub.elsewhere = Some(format!("{}/{ID}/resolve/{COMMIT}", elsewhere.url));
    let server = hub.start();
    let command = format!("download {ID}");
    let sentence = fails(&mut albert(&work, &server.url, &command));
    assert_names(&sentence, &[ID, "terms", "HF_TOKEN"]);
    let sentence = fails(albert(&work, &server.url, &command).env("HF_TOKEN", "hf_wrong"));
    assert_names(&sentence, &[ID, "terms", "token in HF_TOKEN"]);
    assert!(!sentence.contains("hf_wrong"), "the token is printed");
    let refused = server.count();
    work.write("home/token", "hf_secret\n");
    succeed(&mut albert(&work, &server.url, &command));
    let seen = server.seen.lock().unwrap()[refused..].to_vec();
    assert!(seen.iter().all(|seen| seen.token.as_deref() == Some(SECRET)), "{seen:?}");
    let seen = elsewhere.seen.lock().unwrap().clone();
    assert!(!seen.is_empty() && seen.iter().all(|seen| seen.token.is_none()), "{seen:?}");
    assert!(snapshot(&work, WEIGHTS) == MODEL[WEIGHTS]);
}

/// The same model with its weights in two files.
fn sharded() -> Files {
    let whole = SafeTensors::parse(&MODEL[WEIGHTS]);
    let mut files = MODEL.clone();
    files.remove(WEIGHTS);
    let mut map = serde_json::Map::new();
    for part in 0..2 {
        let mut shard = SafeTensors { header: json!({}), data: Vec::new() };
        for name in whole.shapes().into_keys().skip(part).step_by(2) {
            let mut tensor = whole.header[&name].clone();
            let at = |end: usize| tensor["data_offsets"][end].as_u64().unwrap() as usize;
            let (start, bytes) = (shard.data.len(), &whole.data[at(0)..at(1)]);
            shard.data.extend_from_slice(bytes);
            tensor["data_offsets"] = json!([start, shard.data.len()]);
            shard.header[&name] = tensor;
            map.insert(name, json!(format!("model-0000{part}-of-00002.safetensors")));
        }
        files.insert(format!("model-0000{part}-of-00002.safetensors"), shard.bytes());
    }
    let table = json!({"metadata": {}, "weight_map": map}).to_string();
    files.insert("model.safetensors.index.json".into(), table.into_bytes());
    files
}

#[test]
fn weights_in_many_files_come_whole() {
    let work = Work::empty();
    let mut hub = Hub::new();
    hub.files = sharded();
    let server = hub.start();
    let found = fill(&mut albert(&work, &server.url, &format!("{FILL} {ID}")));
    for (name, bytes) in &*MODEL {
        work.write(&format!("plain/{name}"), bytes);
    }
    assert_eq!(found, fill(&mut work.albert(&format!("{FILL} plain"))));
    // A part that somebody removed makes the model incomplete, and it alone is fetched again.
    let path = format!("home/hub/models--owner--tiny/snapshots/{COMMIT}");
    let part = "model-00001-of-00002.safetensors";
    fs::remove_file(work.path(&path).join(part).canonicalize().unwrap()).unwrap();
    let asked = server.seen("GET", "").len();
    assert_eq!(found, fill(&mut albert(&work, &server.url, &format!("{FILL} {ID}"))));
    assert_eq!(server.seen("GET", "").len(), asked + 2, "the list and the part");
    // What the repository lacks is named.
    let mut hub = Hub::new();
    hub.files = sharded();
    hub.files.remove(part);
    let sentence = fails(&mut albert(&Work::empty(), &hub.start().url, &format!("download {ID}")));
    assert_names(&sentence, &["model.safetensors.index.json", part, "does not have"]);
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let siblings = |name: &str| json!({"sha": COMMIT, "siblings": [{"rfilename": name}, {"rfilename": "config.json"}]});
    let evil = |change: &dyn Fn(&mut Hub)| {
        let work = Work::empty();
        let mut hub = Hub::new();
        change(&mut hub);
        let sentence = fails(&mut albert(&work, &hub.start().url, &format!("download {ID}")));
        let is_stray = |path: &PathBuf| path.is_file() && !path.starts_with(work.path("home/hub"));
        let strays: Vec<_> = work.snapshot("").into_keys().filter(is_stray).collect();
        assert!(strays.is_empty(), "{strays:?}");
        sentence
    };
    for name in ["../evil", "/etc/x", "a/../../evil", "..\\evil"] {
        let sentence = evil(&|hub| hub.listing = Some(siblings(name)));
        assert_names(&sentence, &[&format!("{name:?}"), "out of the directory"]);
    }
    let sentence = evil(&|hub| hub.listing = Some(json!({"sha": "../../x", "siblings": []})));
    assert_names(&sentence, &["../../x", "not the name of a commit"]);
    let sentence = evil(&|hub| hub.etag = Some("../../../../evil".into()));
    assert_names(&sentence, &["../evil", "tag"]);
    for name in ["../evil.safetensors", "/etc/x", "a/b.safetensors", ".."] {
        let sentence = evil(&|hub| {
            hub.files.remove(WEIGHTS);
            let table = json!({"weight_map": {"a": name}}).to_string();
            hub.files.insert("model.safetensors.index.json".into(), table.into());
        });
        assert_names(&sentence, &["model.safetensors.index.json", name, "not the name of a file"]);
    }
}

#[test]
fn sizes_that_are_not_true_are_noticed() {
    let download = |more: i64| {
        let work = Work::empty();
        let mut hub = Hub::new();
        hub.more = more;
        let sentence = fails(&mut albert(&work, &hub.start().url, &format!("download {ID}")));
        assert!(!work.path(REFERENCE).exists());
        assert!(!blobs(&work).contains(&sha256(&MODEL[WEIGHTS])));
        sentence
    };
    assert_names(&download(1 << 60), &[WEIGHTS, "MB free", "HF_HOME"]);
    assert_names(&download(1000), &[WEIGHTS, "broke", "kept"]);
    assert_names(&download(-10), &[WEIGHTS, "longer", "deleted"]);
}

#[test]
fn two_processes_download_a_model_once() {
    let work = Work::empty();
    let hub = Hub::new();
    // So that both are at it at the same time.
    let server = Server::start(move |request| {
        if request.method == "GET" && request.path.ends_with(WEIGHTS) {
            std::thread::sleep(Duration::from_millis(500));
        }
        hub.answer(request)
    });
    let start = || {
        let mut command = albert(&work, &server.url, &format!("download {ID}"));
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    for child in [start(), start()] {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(server.seen("GET", WEIGHTS).len(), 1);
    assert!(snapshot(&work, WEIGHTS) == MODEL[WEIGHTS]);
}

#[test]
fn answers_that_are_no_list_take_little_memory() {
    let work = Work::empty();
    let answer = |body: Vec<u8>| {
        let server =
            Server::start(move |_| Answer { status: 200, body: body.clone(), ..Answer::default() });
        (fails(&mut albert(&work, &server.url, &format!("download {ID}"))), server)
    };
    for body in [
        "",
        "<html>",
        "[]",
        "{}",
        "{\"sha\": 1}",
        &"[".repeat(100_000),
        "\u{0}\u{1}",
        "{\"sha\": \"x\", \"siblings\": {}}",
    ] {
        assert_names(&answer(body.into()).0, &["not a list of files", ID]);
    }
    let (sentence, server) = answer(vec![b' '; 128 << 20]);
    assert_names(&sentence, &["longer than", "MiB"]);
    let sent = server.sent.load(Ordering::Relaxed);
    assert!(sent < 64 << 20, "{sent} bytes were taken");
}

#[test]
fn a_full_disk_is_named_and_the_rest_is_fetched_later() {
    let work = Work::empty();
    let server = Hub::new().start();
    let arguments = format!("download {ID}");
    let mut command = work.with_small_disk(16, &arguments);
    toward(&mut command, &server.url);
    let sentence = fails(&mut command);
    assert_names(&sentence, &["writing", &sha256(&MODEL[WEIGHTS]), "larger than this system"]);
    succeed(&mut albert(&work, &server.url, &arguments));
    assert!(server.seen("GET", WEIGHTS).pop().unwrap().start.is_some());
    assert!(snapshot(&work, WEIGHTS) == MODEL[WEIGHTS]);
}
