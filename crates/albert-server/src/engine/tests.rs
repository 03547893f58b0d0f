//! Which calls make a batch, and what becomes of those that nobody waits for.

use std::sync::Arc;
use std::time::Instant;

use albert::predict::{Operation, Output, Sequence};
use albert::{Embedder, Model, Pooling};
use tokio::sync::oneshot;

use super::Engine;
use super::queue::{Call, Computed, Failed, Queue, weight};
use crate::metrics::Metrics;
use crate::permit::Permits;
use crate::testing::{model, text};

const EMBED: Operation = Operation::Embedding(Pooling::Mean);
const ORDER: Operation = Operation::SentenceOrder;

type Reply = oneshot::Receiver<Result<Computed, Failed>>;

/// A call of sequences with so many tokens each.
fn call(model: &Model, operation: Operation, lengths: &[usize]) -> (Call, Reply) {
    let (reply, answer) = oneshot::channel();
    let sequence = |&length: &usize| model.sequence_of_ids(&vec![2; length]).unwrap();
    let call = Call {
        operation,
        sequences: lengths.iter().map(sequence).collect(),
        outputs: Vec::new(),
        permit: Permits::new(1000).acquire(1).unwrap(),
        reply,
        queued: Instant::now(),
        started: None,
    };
    (call, answer)
}

/// Takes batches until nothing waits; gives the tokens of the sequences of each.
fn batches(queue: &mut Queue, budget: usize) -> Vec<Vec<usize>> {
    let mut all = Vec::new();
    while let Some(batch) = queue.take(budget) {
        let lengths: Vec<usize> = batch.sequences().iter().map(|s| s.tokens()).collect();
        let outputs = lengths.iter().map(|&length| Output::Numbers(vec![length as f32]));
        let outputs = outputs.collect();
        all.push(lengths);
        queue.settle(batch, outputs);
    }
    all
}

#[test]
fn small_calls_are_not_kept_waiting_by_large_ones() {
    let model = model(None);
    let mut queue = Queue::default();
    let (large, mut of_large) = call(&model, EMBED, &[10; 20]);
    let (small, mut of_small) = call(&model, EMBED, &[3]);
    queue.push(large);
    queue.push(small);
    let first = queue.take(40).unwrap();
    // A quarter for the large one, all of the small one, and the rest for the large one again.
    let lengths: Vec<usize> = first.sequences().iter().map(|s| s.tokens()).collect();
    assert_eq!(lengths, [10, 10, 10, 3]);
    queue.settle(first, (0..4).map(|n| Output::Numbers(vec![n as f32])).collect());
    let small = of_small.try_recv().unwrap().unwrap();
    assert_eq!(small.outputs, [Output::Numbers(vec![3.0])]);
    assert!(of_large.try_recv().is_err());
    // What comes later goes before the rest of the large one.
    let (late, mut of_late) = call(&model, EMBED, &[4, 4]);
    queue.push(late);
    assert_eq!(batches(&mut queue, 40)[0], [10, 10, 10, 4, 4]);
    assert_eq!(of_late.try_recv().unwrap().unwrap().outputs.len(), 2);
    let large = of_large.try_recv().unwrap().unwrap();
    assert_eq!(large.outputs.len(), 20);
    let order: Vec<f32> = large.outputs[..3].iter().map(|o| o.numbers()[0]).collect();
    assert_eq!(order, [0.0, 1.0, 2.0]);
}

#[test]
fn a_batch_is_of_one_operation_and_within_its_budget() {
    let model = model(None);
    let mut queue = Queue::default();
    let calls =
        [(EMBED, &[9, 9][..]), (ORDER, &[5]), (EMBED, &[7, 30]), (ORDER, &[48]), (EMBED, &[8])];
    let mut replies = Vec::new();
    for (operation, lengths) in calls {
        let (call, reply) = call(&model, operation, lengths);
        queue.push(call);
        replies.push(reply);
    }
    let all = batches(&mut queue, 32);
    for batch in &all {
        assert!(batch.iter().sum::<usize>() <= 32 || batch.len() == 1, "{all:?}");
    }
    let mut lengths: Vec<usize> = all.into_iter().flatten().collect();
    lengths.sort_unstable();
    assert_eq!(lengths, [5, 7, 8, 9, 9, 30, 48]);
    for (mut reply, (_, lengths)) in replies.into_iter().zip(calls) {
        let outputs = reply.try_recv().unwrap().unwrap().outputs;
        let found: Vec<usize> = outputs.iter().map(|o| o.numbers()[0] as usize).collect();
        assert_eq!(found, lengths);
    }
}

#[test]
fn calls_of_those_who_left_are_not_computed() {
    let model = model(None);
    let mut queue = Queue::default();
    let mut replies: Vec<Reply> = Vec::new();
    for length in [3, 4, 5, 6] {
        let (call, reply) = call(&model, EMBED, &[length]);
        queue.push(call);
        replies.push(reply);
    }
    replies.remove(2);
    replies.remove(0);
    assert_eq!(queue.forget_abandoned(), 2);
    assert_eq!(batches(&mut queue, 100), [[4, 6]]);
    assert_eq!(queue.forget_abandoned(), 0);
}

#[test]
fn what_makes_long_answers_weighs_more() {
    let model = model(None);
    let filler = albert::MaskFiller::new(&model).unwrap();
    let one = filler.read("the [MASK]").unwrap();
    let two = filler.read("[MASK] [MASK]").unwrap();
    assert_eq!(one.tokens(), two.tokens());
    let more = |sequence: &Sequence| weight(Operation::MaskedWords, sequence) - sequence.tokens();
    assert_eq!(2 * more(&one), more(&two));
    assert!(more(&one) > 0 && weight(EMBED, &one) == one.tokens());
    assert!(weight(Operation::HiddenStates, &one) > one.tokens());
}

#[tokio::test]
async fn what_is_computed_together_has_the_bits_of_what_is_alone() {
    let models = [model(None), model(None)];
    let metrics = Arc::new(Metrics::new(&["a", "b"]));
    let named = ["a", "b"].map(str::to_owned).into_iter().zip(models.clone()).collect();
    let engine = Engine::start(named, 200, 1 << 16, metrics).unwrap();
    let embedder = Embedder::new(&models[0]);
    let mut calls = Vec::new();
    for number in 0..60 {
        let texts: Vec<String> =
            (0..number % 7 + 1).map(|at| text(number + at, 1 + (number * at) % 40)).collect();
        let sequences: Vec<Sequence> =
            texts.iter().map(|text| embedder.read(text.as_str()).unwrap()).collect();
        let engine = engine.clone();
        calls.push((
            texts,
            tokio::spawn(async move {
                let permit = engine.acquire(number % 2, 1).unwrap();
                engine.compute(number % 2, EMBED, sequences, permit).await.unwrap().outputs
            }),
        ));
    }
    for (texts, call) in calls {
        let outputs = call.await.unwrap();
        for (text, output) in texts.iter().zip(&outputs) {
            let alone = embedder.embed(&[text.as_str()]).unwrap();
            assert_eq!(embedder.conclude(output), alone[0]);
        }
    }
    assert_eq!(engine.depth(0), (0, 0));
    engine.close();
    let permit = engine.acquire(0, 1).unwrap();
    let late = vec![embedder.read("a").unwrap()];
    assert!(engine.compute(0, EMBED, late, permit).await.is_err());
}
