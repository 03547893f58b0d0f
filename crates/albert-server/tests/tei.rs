//! The routes of text-embeddings-inference: their shapes, and the library's numbers in them.

mod common;

use albert::{Classifier, Embedder, Model, cosine_similarity};
use common::Running;
use common::models::{POSITIONS, all, text};
use serde_json::{Value, json};

fn model(name: &str) -> Model {
    all().into_iter().find(|served| served.name == name).unwrap().model
}

fn vectors(value: &Value) -> Vec<Vec<f32>> {
    serde_json::from_value(value.clone()).unwrap()
}

#[test]
fn embed() {
    let server = Running::with_all();
    let texts = ["the cat", "a dog ran"];
    let embedder = Embedder::new(&model("base"));
    let expected = embedder.embed(&texts).unwrap();
    assert_eq!(vectors(&server.ask("/embed", &json!({"inputs": texts}))), expected);
    // One text is a list of one vector too.
    assert_eq!(vectors(&server.ask("/embed", &json!({"inputs": texts[1]}))), expected[1..]);
    let plain = server.ask("/embed", &json!({"inputs": texts, "normalize": false}));
    assert_eq!(vectors(&plain), embedder.clone().normalized(false).embed(&texts).unwrap());
    let long = text(1, POSITIONS);
    let (status, code, param) = server.refused("/embed", &json!({"inputs": ["a", long]}));
    assert_eq!((status, code.as_str(), param), (422, "text_too_long", json!("inputs[1]")));
    let ids = json!({"inputs": vec![5; POSITIONS + 1]});
    assert_eq!(server.refused("/embed", &ids).1, "text_too_long");
    let own = json!({"inputs": texts, "dimensions": expected[0].len()});
    assert_eq!(vectors(&server.ask("/embed", &own)), expected);
    let other = json!({"inputs": texts, "dimensions": expected[0].len() - 1});
    let (status, code, param) = server.refused("/embed", &other);
    assert_eq!((status, code.as_str(), param), (422, "invalid_input", json!("dimensions")));
    let cut = json!({"inputs": long, "truncate": true, "truncation_direction": "Right"});
    assert_eq!(vectors(&server.ask("/embed", &cut)).len(), 1);
    for (field, value) in [("truncation_direction", "left"), ("prompt_name", "query")] {
        let mut body = json!({"inputs": "a"});
        body[field] = json!(value);
        assert_eq!(server.refused("/embed", &body).2, json!(field));
    }
    assert_eq!(server.refused("/embed", &json!({"inputs": []})).0, 422);
    let refused = server.post("/embed", &json!({"inputs": 3})).json();
    assert_eq!(refused["error_type"], "Validation");
}

#[test]
fn embed_all_gives_every_token() {
    let server = Running::with_all();
    let answer = server.ask("/embed_all", &json!({"inputs": ["the cat", "a"]}));
    let tokens: Vec<Vec<Vec<f32>>> = serde_json::from_value(answer).unwrap();
    assert_eq!([tokens[0].len(), tokens[1].len()], [4, 3]);
    // Their mean is the vector of the text.
    let whole = Embedder::new(&model("base")).normalized(false).embed(&["the cat"]).unwrap();
    for (dimension, expected) in whole[0].iter().enumerate() {
        let sum: f64 = tokens[0].iter().map(|token| f64::from(token[dimension])).sum();
        assert_eq!((sum / 4.0) as f32, *expected);
    }
}

#[test]
fn predict_and_rerank() {
    let server = Running::with_all();
    let scores = Classifier::new(&model("mood")).unwrap();
    let labels = ["bad", "fair", "good"];
    let expected = |input: albert::Input<'_>| {
        let scores = scores.classify(&[input]).unwrap().remove(0).0;
        let mut all: Vec<(f32, &str)> = scores.into_iter().zip(labels).collect();
        all.sort_by(|a, b| b.0.total_cmp(&a.0));
        all
    };
    let found = |value: &Value| -> Vec<(f32, String)> {
        let one = |item: &Value| {
            let score = serde_json::from_value(item["score"].clone()).unwrap();
            (score, item["label"].as_str().unwrap().to_owned())
        };
        value.as_array().unwrap().iter().map(one).collect()
    };
    let same = |value: &Value, expected: Vec<(f32, &str)>| {
        let expected: Vec<(f32, String)> =
            expected.into_iter().map(|(score, label)| (score, label.to_owned())).collect();
        assert_eq!(found(value), expected);
    };
    same(&server.ask("/predict", &json!({"inputs": "the cat"})), expected("the cat".into()));
    let pair = server.ask("/predict", &json!({"inputs": ["the cat", "sat"]}));
    same(&pair, expected(("the cat", "sat").into()));
    let several = server.ask("/predict", &json!({"inputs": [["a"], ["the cat", "sat"]]}));
    same(&several[0], expected("a".into()));
    same(&several[1], expected(("the cat", "sat").into()));
    let raw = found(&server.ask("/predict", &json!({"inputs": "a", "raw_scores": true})));
    assert!((raw.iter().map(|(score, _)| score).sum::<f32>() - 1.0).abs() > 1e-3, "{raw:?}");
    for inputs in [json!([["a", "b", "c"]]), json!([[]]), json!(3), json!(["a", "b", "c"])] {
        assert_eq!(server.refused("/predict", &json!({"inputs": inputs})).0, 422, "{inputs}");
    }

    let texts = ["a dog", "the sun", "old and new"];
    let body = json!({"model": "rank", "query": "the cat", "texts": texts, "return_text": true});
    let ranks = server.ask("/rerank", &body);
    let ranks = ranks.as_array().unwrap();
    let score = |rank: &Value| -> f32 { serde_json::from_value(rank["score"].clone()).unwrap() };
    assert!(ranks.windows(2).all(|pair| score(&pair[0]) >= score(&pair[1])));
    let classifier = Classifier::new(&model("rank")).unwrap();
    for rank in ranks {
        let text = texts[usize::try_from(rank["index"].as_u64().unwrap()).unwrap()];
        assert_eq!(rank["text"], text);
        assert_eq!(score(rank), classifier.classify(&[("the cat", text)]).unwrap()[0].0[0]);
    }
    let (status, _, param) = server.refused("/rerank", &json!({"query": "a", "texts": ["b"]}));
    assert_eq!((status, param), (422, json!("model")));
}

#[test]
fn parameters_of_predict() {
    let server = Running::with_all();
    let found = |parameters: Value| -> Vec<(f32, String)> {
        let body = json!({"inputs": "the cat", "parameters": parameters});
        let answer = server.ask("/predict", &body);
        let one = |item: &Value| {
            (item["score"].as_f64().unwrap() as f32, item["label"].as_str().unwrap().to_owned())
        };
        answer.as_array().unwrap().iter().map(one).collect()
    };
    let (all, raw) = (found(json!({})), found(json!({"function_to_apply": "none"})));
    assert_eq!(found(json!({"top_k": 2})), all[..2]);
    assert_eq!(found(json!({"top_k": 50, "function_to_apply": null})), all);
    let plain = server.ask("/predict", &json!({"inputs": "the cat", "raw_scores": true}));
    assert_eq!(plain[0]["score"].as_f64().unwrap() as f32, raw[0].0);
    let near = |found: Vec<(f32, String)>, expected: Vec<(f32, String)>| {
        for (a, b) in found.iter().zip(&expected) {
            assert!((a.0 - b.0).abs() < 1e-6 && a.1 == b.1, "{found:?} {expected:?}");
        }
    };
    // The model was trained with softmax.
    near(found(json!({"function_to_apply": "softmax"})), all);
    let sigmoid = |(x, label): (f32, String)| (1.0 / (1.0 + (-x).exp()), label);
    let expected = raw.into_iter().map(sigmoid).collect();
    near(found(json!({"function_to_apply": "sigmoid"})), expected);
    for (parameters, param) in [
        (json!({"top_k": 0}), "parameters.top_k"),
        (json!({"function_to_apply": "tanh"}), "parameters.function_to_apply"),
        (json!({"top": 1}), "parameters.top"),
    ] {
        let body = json!({"inputs": "a", "parameters": parameters});
        let (status, _, found) = server.refused("/predict", &body);
        assert_eq!((status, found), (422, json!(param)));
    }
    let both = json!({"inputs": "a", "raw_scores": true,
        "parameters": {"function_to_apply": "softmax"}});
    assert_eq!(server.refused("/predict", &both).2, json!("parameters.function_to_apply"));
}

#[test]
fn unknown_fields_are_refused_by_name() {
    let server = Running::with_all();
    let pair = json!({"source_sentence": "a", "sentences": ["b"]});
    for (path, body) in [
        ("/", json!({"inputs": "a"})),
        ("/embed", json!({"inputs": "a"})),
        ("/embed_all", json!({"inputs": "a"})),
        ("/predict", json!({"inputs": "a"})),
        ("/rerank", json!({"model": "rank", "query": "a", "texts": ["b"]})),
        ("/similarity", json!({"inputs": pair})),
        ("/tokenize", json!({"inputs": "a"})),
        ("/decode", json!({"ids": [5]})),
    ] {
        server.ask(path, &body);
        let mut more = body.clone();
        more["colour"] = json!({"red": [1, "a"]});
        let (status, code, param) = server.refused(path, &more);
        let expected = (422, "invalid_field", json!("colour"));
        assert_eq!((status, code.as_str(), param), expected, "{path}");
    }
    let inside = json!({"inputs": pair, "parameters": {"colour": 1}});
    assert_eq!(server.refused("/similarity", &inside).2, json!("colour"));
}

#[test]
fn the_root_answers_by_the_model() {
    let server = Running::with_all();
    for (model, path, body) in [
        (None, "/embed", json!({"inputs": ["the cat"]})),
        (Some("base"), "/embed", json!({"inputs": ["the cat"], "normalize": false})),
        (Some("mood"), "/predict", json!({"inputs": "the cat"})),
        (Some("rank"), "/rerank", json!({"query": "a", "texts": ["the cat", "b"]})),
    ] {
        let mut body = body;
        if let Some(model) = model {
            body["model"] = json!(model);
        }
        assert_eq!(server.ask("/", &body), server.ask(path, &body), "{body}");
    }
    assert_eq!(server.refused("/", &json!({"inputs": "a", "model": "nobody"})).0, 404);
    assert_eq!(server.refused("/", &json!({"inputs": "a", "model": "mood", "query": "b"})).0, 422);
    assert_eq!(server.refused("/", &json!({"inputs": "a", "model": 3})).2, json!("model"));
    assert_eq!(server.get("/").status, 200);
}

#[test]
fn similarity() {
    let server = Running::with_all();
    let inputs = json!({"source_sentence": "the cat", "sentences": ["a dog", "the cat"]});
    let answer = server.ask("/similarity", &json!({"inputs": inputs}));
    let found: Vec<f32> = serde_json::from_value(answer).unwrap();
    let vectors = Embedder::new(&model("base")).embed(&["the cat", "a dog"]).unwrap();
    assert_eq!(found[0], cosine_similarity(&vectors[0], &vectors[1]).unwrap());
    assert_eq!(found[1], cosine_similarity(&vectors[0], &vectors[0]).unwrap());
    let none = json!({"inputs": {"source_sentence": "a", "sentences": []}});
    assert_eq!(server.refused("/similarity", &none).0, 422);
}

#[test]
fn tokenize_and_decode() {
    let server = Running::with_all();
    let answer = server.ask("/tokenize", &json!({"inputs": "é the cats"}));
    let token = |id: u32, text: &str, start: usize, stop: usize| json!({"id": id, "text": text, "special": false, "start": start, "stop": stop});
    let tokenizer = model("base");
    let tokenizer = tokenizer.tokenizer();
    let (the, unk) = (tokenizer.id("the").unwrap(), tokenizer.special().unk);
    let tokens = answer[0].as_array().unwrap();
    assert_eq!(tokens[1], token(unk, "é", 0, 1));
    assert_eq!(tokens[2], token(the, "the", 2, 5));
    for (place, name) in [(0, "[CLS]"), (tokens.len() - 1, "[SEP]")] {
        assert_eq!(tokens[place]["text"], name);
        assert_eq!(tokens[place]["special"], true);
        assert!(tokens[place]["start"].is_null() && tokens[place]["stop"].is_null());
    }
    let bare = json!({"inputs": ["the", "a b"], "add_special_tokens": false});
    let bare = server.ask("/tokenize", &bare);
    assert_eq!([bare[0].as_array().unwrap().len(), bare[1].as_array().unwrap().len()], [1, 2]);

    let cat = tokenizer.id("cat").unwrap();
    assert_eq!(server.ask("/decode", &json!({"ids": [the, cat]})), json!(["the cat"]));
    let special = json!({"ids": [[tokenizer.special().cls, the], [cat]],
        "skip_special_tokens": false});
    assert_eq!(server.ask("/decode", &special), json!(["[CLS] the", "cat"]));
    let (status, _, param) = server.refused("/decode", &json!({"ids": [[the], [999_999]]}));
    assert_eq!((status, param), (422, json!("ids[1]")));
    assert_eq!(server.refused("/decode", &json!({"ids": [-1]})).0, 422);
}

#[test]
fn info() {
    let server = Running::with_all();
    let info = server.get("/info").json();
    assert_eq!((&info["model_id"], &info["model_dtype"]), (&json!("base"), &json!("f32")));
    assert_eq!(info["model_type"], json!({"embedding": {"pooling": "mean"}}));
    assert_eq!(info["max_input_length"], POSITIONS);
    assert!(info["max_batch_tokens"].as_u64().unwrap() > 0);
}
