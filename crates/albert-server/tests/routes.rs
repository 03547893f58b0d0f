//! Every route, right and wrong: what it answers is what the library says of the same input alone.

mod common;

use albert::predict::{AnswerOptions, DEFAULT_HYPOTHESIS};
use albert::{
    Chooser, Classifier, Embedder, MaskFiller, Model, Question, QuestionAnswerer, SentenceOrder,
    Tagger, ZeroShot, cosine_similarity,
};
use common::models::{POSITIONS, all, text};
use common::{Answer, Running};
use serde_json::{Value, json};

fn model(name: &str) -> Model {
    all().into_iter().find(|served| served.name == name).unwrap().model
}

/// The `results` of an answer, whose frame is checked.
#[track_caller]
fn results(answer: &Value, name: &str, count: usize) -> Vec<Value> {
    let keys: Vec<&String> = answer.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["model", "results", "usage"]);
    assert_eq!(answer["model"], name);
    assert!(answer["usage"]["tokens"].as_u64().unwrap() > 0);
    assert!(answer["usage"]["seconds"].as_f64().unwrap() > 0.0);
    let results = answer["results"].as_array().unwrap().clone();
    assert_eq!(results.len(), count);
    results
}

#[test]
fn fill_mask() {
    let server = Running::with_all();
    let texts = ["the [MASK] sat on the [MASK] .", "[MASK]"];
    let answer = server.ask("/v1/fill-mask", &json!({"texts": texts, "top_k": 3}));
    let filled = MaskFiller::new(&model("base")).unwrap().fill(&texts, 3).unwrap();
    for ((result, text), masks) in results(&answer, "base", 2).iter().zip(texts).zip(filled) {
        let predictions = |mask: &albert::FilledMask| {
            let one =
                |p: &albert::Prediction| json!({"token": p.token, "id": p.id, "score": p.score});
            mask.predictions.iter().map(one).collect::<Vec<_>>()
        };
        let masks: Vec<Value> = masks
            .iter()
            .map(|mask| json!({"position": mask.position, "predictions": predictions(mask)}))
            .collect();
        assert_eq!(*result, json!({"text": text, "masks": masks}));
    }
    let among = json!({"texts": ["a [MASK]"], "candidates": ["cat", "dog"], "model": "mood"});
    let answer = server.ask("/v1/fill-mask", &among);
    assert_eq!(answer["results"][0]["masks"][0]["predictions"].as_array().unwrap().len(), 2);

    for (body, param) in [
        (json!({"texts": ["[MASK]", "no mask"]}), json!("texts[1]")),
        (json!({"texts": ["[MASK]"], "top_k": 0}), json!("top_k")),
        (json!({"texts": ["[MASK]"], "top_k": 101}), json!("top_k")),
        (json!({"texts": ["[MASK]"], "top_k": -1}), json!("top_k")),
        (json!({"texts": ["[MASK]"], "top_k": 1e30}), json!("top_k")),
        (json!({"texts": ["[MASK]"], "candidates": ["elephant"]}), json!("candidates")),
        (json!({"texts": ["[MASK]"], "candidates": []}), json!("candidates")),
        (json!({"texts": "[MASK]"}), json!("texts")),
        (json!({"texts": []}), Value::Null),
        (json!({}), Value::Null),
        (json!({"texts": [text(1, POSITIONS) + " [MASK]"]}), json!("texts[0]")),
    ] {
        let (status, _, found) = server.refused("/v1/fill-mask", &body);
        assert_eq!((status, found), (422, param), "{body}");
    }
}

#[test]
fn classify() {
    let server = Running::with_all();
    let texts = json!(["the cat", {"text": "a dog", "pair": "ran"}, {"text": "a bird"}]);
    let answer = server.ask("/v1/classify", &json!({"texts": texts}));
    let classifier = Classifier::new(&model("mood")).unwrap();
    let inputs: [albert::Input<'_>; 3] =
        ["the cat".into(), ("a dog", "ran").into(), "a bird".into()];
    let scores = classifier.classify(&inputs).unwrap();
    for ((result, scores), input) in results(&answer, "mood", 3).iter().zip(&scores).zip(inputs) {
        let (best, score) = scores.best();
        let mut expected = json!({"text": input.first});
        if let Some(pair) = input.second {
            expected["pair"] = json!(pair);
        }
        expected["label"] = json!(["bad", "fair", "good"][best]);
        expected["score"] = json!(score);
        let [bad, fair, good] = scores.0[..] else { panic!() };
        expected["scores"] = json!({"bad": bad, "fair": fair, "good": good});
        assert_eq!(result.to_string(), expected.to_string());
    }
    let several = server.ask("/v1/classify", &json!({"model": "rank", "texts": ["the cat"]}));
    let holds = several["results"][0]["score"].as_f64().unwrap() >= 0.5;
    assert_eq!(several["results"][0]["labels"], if holds { json!(["fits"]) } else { json!([]) });

    let wrong = |body: Value, status, param: Value| {
        let (found, _, at) = server.refused("/v1/classify", &body);
        assert_eq!((found, at), (status, param), "{body}");
    };
    wrong(json!({"model": "nobody", "texts": ["a"]}), 404, json!("model"));
    wrong(json!({"model": "ner", "texts": ["a"]}), 422, json!("model"));
    wrong(json!({"texts": ["a", 3]}), 422, json!("texts[1]"));
    wrong(json!({"texts": [{"text": "a", "par": "b"}]}), 422, json!("texts[0]"));
    wrong(json!({"texts": ["a"], "several": true}), 422, json!("several"));
    wrong(json!({"texts": ["a", text(2, POSITIONS)]}), 422, json!("texts[1]"));
    let cut = json!({"texts": [text(2, POSITIONS)], "truncate": true});
    assert_eq!(server.post("/v1/classify", &cut).status, 200);
}

#[test]
fn labels_of_ones_own() {
    let server = Running::with_all();
    let labels = ["red".to_owned(), "blue".to_owned()];
    let body = json!({"model": "entail", "texts": ["the sun", "the moon"], "labels": labels});
    let answer = server.ask("/v1/classify", &body);
    let zero_shot = ZeroShot::new(&model("entail"), &labels, DEFAULT_HYPOTHESIS).unwrap();
    let scores = zero_shot.classify(&["the sun", "the moon"]).unwrap();
    for (result, scores) in results(&answer, "entail", 2).iter().zip(scores) {
        assert_eq!(result["scores"], json!({"red": scores.0[0], "blue": scores.0[1]}));
    }
    let mut several = body.clone();
    several["several"] = json!(true);
    let answer = server.ask("/v1/classify", &several);
    assert!(answer["results"][0]["labels"].is_array());
    for (key, value, param) in [
        ("labels", json!([]), "labels"),
        ("labels", json!(["red", "red"]), "labels"),
        ("labels", json!(["red", " "]), "labels"),
        ("hypothesis", json!("nothing to fill"), "labels"),
        ("model", json!("mood"), "labels"),
        ("texts", json!([{"text": "a", "pair": "b"}]), "texts[0]"),
    ] {
        let mut wrong = body.clone();
        wrong[key] = value;
        let (status, _, found) = server.refused("/v1/classify", &wrong);
        assert_eq!((status, found), (422, json!(param)), "{wrong}");
    }
}

#[test]
fn tag_a_text_longer_than_the_model() {
    let server = Running::with_all();
    // One with letters of two bytes, which characters count as one.
    let long = format!("é {} é cat", text(3, 3 * POSITIONS));
    let texts = ["the cat sat", &long];
    let answer = server.ask("/v1/tag", &json!({"texts": texts}));
    let tagged = Tagger::new(&model("ner")).unwrap().tag(&texts).unwrap();
    assert!(tagged[1].len() > 3, "there is nothing to compare");
    for ((result, text), entities) in results(&answer, "ner", 2).iter().zip(texts).zip(tagged) {
        assert_eq!(result["text"], text);
        let found = result["entities"].as_array().unwrap();
        assert_eq!(found.len(), entities.len());
        let characters: Vec<char> = text.chars().collect();
        for (found, entity) in found.iter().zip(&entities) {
            assert_eq!(found["label"], entity.label);
            assert_eq!(found["score"], json!(entity.score));
            let words = &text[entity.start..entity.end];
            assert_eq!(found["text"], words);
            let at = |key: &str| usize::try_from(found[key].as_u64().unwrap()).unwrap();
            assert_eq!(characters[at("start")..at("end")].iter().collect::<String>(), words);
        }
    }
    let by_token = json!({"texts": ["the cat sat"], "grouping": "none"});
    assert_eq!(server.post("/v1/tag", &by_token).status, 200);
    let wrong = json!({"texts": ["the cat sat"], "grouping": "some"});
    assert_eq!(server.refused("/v1/tag", &wrong).0, 422);
}

#[test]
fn answer_from_contexts_longer_than_the_model() {
    let server = Running::with_all();
    for name in ["qa", "qa2"] {
        let (short, long) = ("the cat sat on the mat .", text(4, 3 * POSITIONS));
        let pairs = [("is the cat old ?", short), ("is the dog new ?", long.as_str())];
        let questions =
            pairs.map(|(question, context)| json!({"question": question, "context": context}));
        let body = json!({"model": name, "questions": questions, "top_k": 3});
        let answer = server.ask("/v1/answer", &body);
        let options = AnswerOptions { n_best: 3, ..AnswerOptions::default() };
        let answerer = QuestionAnswerer::new(&model(name)).unwrap().options(options).unwrap();
        let expected = answerer.answer(&pairs).unwrap();
        for ((result, answers), (question, context)) in
            results(&answer, name, 2).iter().zip(expected).zip(pairs)
        {
            assert_eq!(result["question"], question);
            let best = answers.best.unwrap();
            assert_eq!(result["answer"], best.text(context));
            assert_eq!(result["score"], json!(best.score));
            assert_eq!(result["start"], best.start);
            assert_eq!(result["no_answer_score"], json!(answers.no_answer_score));
            assert_eq!(result["candidates"].as_array().unwrap().len(), answers.candidates.len());
        }
        for (question, context) in [("", "the cat"), ("the cat ?", "")] {
            let wrong = json!({"model": name, "questions": [
                {"question": question, "context": context}]});
            let (status, _, param) = server.refused("/v1/answer", &wrong);
            assert_eq!((status, param), (422, json!("questions[0]")), "{wrong}");
        }
    }
}

#[test]
fn choose() {
    let server = Running::with_all();
    let options = ["the cat".to_owned(), "a dog".to_owned(), "blue".to_owned()];
    let (context, question) = ("the cat sat on the mat .", "is _ old ?");
    let asked = json!({"context": context, "question": question, "options": options});
    let body = json!({"questions": [asked, {"context": context, "options": ["a", "b"]}]});
    let answer = server.ask("/v1/choose", &body);
    let chooser = Chooser::new(&model("race")).unwrap();
    let expected = chooser.choose(&[Question { context, question, options: &options }]).unwrap();
    let result = &results(&answer, "race", 2)[0];
    let index = expected[0].index;
    assert_eq!(
        *result,
        json!({"question": question, "choice": options[index], "index": index,
               "scores": expected[0].scores})
    );
    let one = json!({"questions": [asked, {"context": "a", "options": ["b"]}]});
    let (status, _, param) = server.refused("/v1/choose", &one);
    assert_eq!((status, param), (422, json!("questions[1]")));
}

#[test]
fn order() {
    let server = Running::with_all();
    let lists = json!([["the cat", "sat"], ["the sun", "was red", "and old"]]);
    let answer = server.ask("/v1/order", &json!({"lists": lists}));
    let order = SentenceOrder::new(&model("base")).unwrap();
    let pair = order.pairs(&[("the cat", "sat")]).unwrap()[0];
    let three = ["the sun", "was red", "and old"];
    let ordered = &order.order(&[&three]).unwrap()[0];
    let found = results(&answer, "base", 2);
    assert_eq!(
        found[0],
        json!({"first": "the cat", "second": "sat", "in_order": pair.in_order,
               "swapped": pair.swapped})
    );
    let texts: Vec<&str> = ordered.places.iter().map(|&at| three[at]).collect();
    let expected = json!({"texts": texts, "order": ordered.places, "score": ordered.score});
    assert_eq!(found[1], expected);
    for list in [json!([]), json!(["a"]), json!(vec!["a"; 17])] {
        let (status, _, param) = server.refused("/v1/order", &json!({"lists": [["a", "b"], list]}));
        assert_eq!((status, param), (422, json!("lists[1]")));
    }
}

#[test]
fn similarity_and_embeddings() {
    let server = Running::with_all();
    let texts = ["the cat", "a dog ran", "the sun"];
    let vectors = Embedder::new(&model("base")).embed(&texts).unwrap();
    let answer = server.ask("/v1/similarity", &json!({"texts": texts}));
    for (row, a) in vectors.iter().enumerate() {
        for (column, b) in vectors.iter().enumerate() {
            let expected = json!(cosine_similarity(a, b).unwrap());
            assert_eq!(answer["scores"][row][column], expected, "{row} {column}");
        }
    }

    let answer = server.ask("/v1/embeddings", &json!({"input": texts, "user": "somebody"}));
    assert_eq!((&answer["object"], &answer["model"]), (&json!("list"), &json!("base")));
    let numbers = |value: &Value| -> Vec<f32> { serde_json::from_value(value.clone()).unwrap() };
    for (index, vector) in vectors.iter().enumerate() {
        let found = &answer["data"][index];
        assert_eq!((&found["object"], &found["index"]), (&json!("embedding"), &json!(index)));
        assert_eq!(numbers(&found["embedding"]), *vector);
    }
    assert_eq!(answer["usage"]["prompt_tokens"], 4 + 5 + 4);
    let one = server.ask("/v1/embeddings", &json!({"input": texts[1]}));
    assert_eq!(numbers(&one["data"][0]["embedding"]), vectors[1]);
    let ids =
        model("base").tokenizer().encode_input(texts[1], None, &Default::default()).unwrap().ids;
    for input in [json!(ids), json!([ids])] {
        let answer = server.ask("/v1/embeddings", &json!({"input": input, "dimensions": 32}));
        assert_eq!(numbers(&answer["data"][0]["embedding"]), vectors[1]);
    }
    let base64 = json!({"input": texts[1], "encoding_format": "base64"});
    let answer = server.ask("/v1/embeddings", &base64);
    // 32 numbers of four bytes.
    assert_eq!(answer["data"][0]["embedding"].as_str().unwrap().len(), 172);
    for (body, param) in [
        (json!({"input": "a", "dimensions": 16}), json!("dimensions")),
        (json!({"input": "a", "encoding_format": "hex"}), json!("encoding_format")),
        (json!({"input": [[3, 5], []]}), json!("input[1]")),
        (json!({"input": [3, 999_999]}), json!("input[0]")),
        (json!({"input": []}), Value::Null),
        (json!({"input": 3}), json!("input")),
        (json!({"input": text(1, POSITIONS)}), json!("input[0]")),
    ] {
        let (status, _, found) = server.refused("/v1/embeddings", &body);
        assert_eq!((status, found), (422, param), "{body}");
    }
}

#[test]
fn models_and_the_state_of_the_server() {
    let server = Running::with_all();
    let list = server.get("/v1/models").json();
    let models = list["data"].as_array().unwrap();
    assert_eq!((models.len(), &list["object"]), (8, &json!("list")));
    assert_eq!(models[0]["tasks"], json!(["fill-mask", "order", "similarity", "embeddings"]));
    assert_eq!(models[1]["labels"], json!(["bad", "fair", "good"]));
    assert!(models[4]["tasks"].as_array().unwrap().contains(&json!("tag")));
    assert_eq!(server.get("/v1/models/ner").json(), models[4]);
    assert_eq!(
        (&models[4]["max_tokens"], &models[4]["precision"]),
        (&json!(POSITIONS), &json!("f32"))
    );
    for unknown in ["nobody", "some/body", "some%2Fbody", "%00"] {
        let (status, code, _) = server.get(&format!("/v1/models/{unknown}")).refusal();
        assert_eq!((status, code.as_str()), (404, "model_not_found"), "{unknown}");
    }
    server.ask("/v1/similarity", &json!({"texts": ["a b", "b a"]}));
    let stats = server.get("/v1/stats").json();
    assert_eq!(stats["models"].as_array().unwrap().len(), 8);
    assert!(stats["models"][0]["tokens"].as_u64().unwrap() >= 8);
    assert!(stats["requests"].as_u64().unwrap() > 0 && stats["queue_tokens"] == 0, "{stats}");
    for path in ["/health", "/ready"] {
        assert_eq!(server.get(path).json(), json!({"status": "ok"}));
    }
    let metrics = server.get("/metrics");
    assert!(metrics.header("content-type").unwrap().starts_with("application/openmetrics-text"));
    for name in [
        "albert_tokens_total{model=\"base\"}",
        "albert_queue_tokens{model=\"base\"} 0",
        "route=\"/v1/similarity\",method=\"POST\",status=\"200\"",
        "process_resident_memory_bytes",
    ] {
        assert!(metrics.text().contains(name), "no {name} in\n{}", metrics.text());
    }
}

#[test]
fn pages_and_the_description() {
    let server = Running::with_all();
    let page = server.get("/");
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    let api = server.get("/openapi.json").json();
    // Every route that is described is there: it refuses what it does not expect, and is found.
    for (path, methods) in api["paths"].as_object().unwrap() {
        let path = path.replace("{id}", "base");
        for method in methods.as_object().unwrap().keys() {
            let answer = match method.as_str() {
                "get" => server.get(&path),
                _ => server.post(&path, &json!({"unexpected": 1})),
            };
            let expected = if method == "get" { 200 } else { 422 };
            assert_eq!(answer.status, expected, "{method} {path}: {}", answer.text());
        }
    }
    let examples: Vec<&Value> =
        api["components"]["schemas"].as_object().unwrap().values().collect();
    assert!(examples.len() > 20);
}

#[test]
fn what_is_not_there() {
    let server = Running::with_all();
    let status = |answer: Answer| {
        let (status, code, _) = answer.refusal();
        (status, code)
    };
    assert_eq!(status(server.get("/v1/nothing")), (404, "not_found".into()));
    assert_eq!(status(server.get("/embed_sparse")), (404, "not_found".into()));
    assert_eq!(status(server.get("/v1/classify")), (405, "method_not_allowed".into()));
    assert_eq!(status(server.post("/health", &json!({}))), (405, "method_not_allowed".into()));
    let typed = |headers: &str| status(server.request("POST", "/v1/tag", headers, b"{}"));
    assert_eq!(typed(""), (415, "unsupported_media_type".into()));
    assert_eq!(typed("content-type: text/plain\r\n"), (415, "unsupported_media_type".into()));
    let zipped = "content-type: application/json\r\ncontent-encoding: gzip\r\n";
    assert_eq!(typed(zipped), (415, "unsupported_media_type".into()));
    assert_eq!(typed("content-type: Application/JSON; charset=utf-8\r\n").0, 422);
}
