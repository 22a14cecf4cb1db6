//! Every known trap of counting zeros, with files written byte by byte as the format defines them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use sparsity_measure::{
    Along, LeftOutReason, MeasureError, Measurement, Refusal, Role, Scope, WarningCode, measure,
};
use tempfile::TempDir;

/// A file as the format defines it: eight bytes of length, a JSON header, the data.
#[derive(Default, Clone)]
struct File {
    header: Map<String, Value>,
    data: Vec<u8>,
}

impl File {
    fn tensor(mut self, name: &str, dtype: &str, shape: &[u64], data: &[u8]) -> Self {
        let begin = self.data.len();
        self.data.extend(data);
        let tensor =
            json!({"dtype": dtype, "shape": shape, "data_offsets": [begin, self.data.len()]});
        assert!(self.header.insert(name.to_owned(), tensor).is_none());
        self
    }

    fn f32(self, name: &str, shape: &[u64], values: &[f32]) -> Self {
        let data: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.tensor(name, "F32", shape, &data)
    }

    fn metadata(mut self, name: &str, value: &str) -> Self {
        self.header.insert("__metadata__".to_owned(), json!({name: value}));
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let header = serde_json::to_vec(&self.header).unwrap();
        [&(header.len() as u64).to_le_bytes()[..], &header, &self.data].concat()
    }

    fn measured(&self) -> Result<Measurement, MeasureError> {
        self.measured_with(json!({}))
    }

    fn measured_with(&self, config: Value) -> Result<Measurement, MeasureError> {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("model.safetensors"), self.bytes()).unwrap();
        fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
        measure(folder.path(), &mut |_| {})
    }

    fn refusal(&self) -> (String, Refusal) {
        refusal(self.measured())
    }
}

fn refusal(measured: Result<Measurement, MeasureError>) -> (String, Refusal) {
    match measured {
        Err(MeasureError::Refused { tensor, reason }) => (tensor, reason),
        other => panic!("{other:?}"),
    }
}

fn codes(measured: &Measurement) -> Vec<WarningCode> {
    measured.warnings.iter().map(|warning| warning.code).collect()
}

fn half(bits: &[u16]) -> Vec<u8> {
    bits.iter().flat_map(|bits| bits.to_le_bytes()).collect()
}

/// A matrix with ones where `keep` returns true and zeros elsewhere, row by row.
fn matrix(rows: usize, columns: usize, keep: impl Fn(usize, usize) -> bool) -> Vec<f32> {
    let places = (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column)));
    places.map(|(row, column)| if keep(row, column) { 1.0 } else { 0.0 }).collect()
}

/// Whether a 2:4 mask keeps an element. The pattern holds within rows but not down columns, and it is not 1:2.
fn two_of_four(row: usize, column: usize) -> bool {
    const PAIRS: [[usize; 2]; 3] = [[0, 1], [2, 3], [0, 3]];
    // The pairs stay the same over 64 rows, so whole groups down a column are dense.
    PAIRS[(row / 64 + column / 4) % 3].contains(&(column % 4))
}

/// Pseudo-random numbers, the same on every call.
fn choices() -> impl FnMut() -> usize {
    let mut state = 1_u64;
    move || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize
    }
}

fn patterns(measured: &Measurement, name: &str) -> Vec<(String, usize, Along)> {
    let row = measured.tensors.iter().find(|row| row.name == name).unwrap();
    row.patterns.iter().map(|found| (found.pattern.clone(), found.axis, found.along)).collect()
}

#[test]
fn minus_zero_is_zero() {
    let measured =
        File::default().f32("a.weight", &[2, 2], &[0.0, -0.0, 1.0, -1.0]).measured().unwrap();
    assert_eq!((measured.all.total_params, measured.all.nonzero_params), (4, 2));
    assert_eq!(measured.all.sparsity, 0.5);
}

#[test]
fn embeddings_stand_apart() {
    let measured = File::default()
        .f32("model.embed_tokens.weight", &[5, 2], &[1.0; 10])
        .f32("lm_head.weight", &[5, 2], &[2.0; 10])
        .f32("model.layers.0.mlp.up_proj.weight", &[2, 2], &[1.0, 0.0, 0.0, 0.0])
        .f32("model.norm.weight", &[2], &[1.0; 2])
        .measured()
        .unwrap();
    assert_eq!(measured.all.total_params, 26);
    assert_eq!((measured.embeddings.total_params, measured.output_layer.total_params), (10, 10));
    let fields = |scope| {
        let fields = measured.run_fields(scope);
        (fields.nonzero_params, fields.sparsity)
    };
    assert_eq!(fields(Scope::WithoutEmbeddings), (3, 0.5));
    assert_eq!(fields(Scope::Prunable), (1, 0.75));
    assert_eq!(fields(Scope::All), (23, 3.0 / 26.0));
}

#[test]
fn a_pattern_holds_along_the_axis_it_was_made_along_and_no_other() {
    let file = File::default().f32("a.weight", &[128, 64], &matrix(128, 64, two_of_four));
    let measured = file.measured().unwrap();
    assert_eq!(patterns(&measured, "a.weight"), [("2:4".to_owned(), 1, Along::Inputs)]);
    assert_eq!(measured.pattern.as_deref(), Some("2:4"));
    assert!(measured.holds("2:4") && measured.holds("4:8") && measured.holds("3:4"));
    assert!(!measured.holds("1:4") && !measured.holds("2:5") && !measured.holds("two:four"));
    assert!(measured.warnings.is_empty());

    let transposed = matrix(64, 128, |row, column| two_of_four(column, row));
    let measured = File::default().f32("a.weight", &[64, 128], &transposed).measured().unwrap();
    assert_eq!(patterns(&measured, "a.weight"), [("2:4".to_owned(), 0, Along::Other)]);
    assert_eq!(measured.pattern, None);
    assert_eq!(codes(&measured), [WarningCode::PatternNotAlongInputs]);
}

#[test]
fn conv1d_of_gpt2_and_flax_have_their_inputs_first() {
    let along_first = |rows, columns| matrix(rows, columns, |row, column| two_of_four(column, row));
    let measured = File::default()
        .f32("h.0.attn.c_attn.weight", &[64, 192], &along_first(64, 192))
        .f32("h.0.mlp.c_fc.weight", &[64, 256], &along_first(64, 256))
        .measured()
        .unwrap();
    assert_eq!(measured.pattern.as_deref(), Some("2:4"));
    assert_eq!(patterns(&measured, "h.0.mlp.c_fc.weight"), [("2:4".to_owned(), 0, Along::Inputs)]);

    let flax = File::default().f32("params.mlp.wi.kernel", &[64, 192], &along_first(64, 192));
    assert_eq!(flax.measured().unwrap().pattern.as_deref(), Some("2:4"));
}

#[test]
fn convolutions_have_their_inputs_second() {
    // (out, in, height, width)
    let values: Vec<f32> = (0..16 * 8 * 9)
        .map(|at| if two_of_four(at / 72, at / 9 % 8) { 1.0 } else { 0.0 })
        .collect();
    let measured = File::default().f32("conv.weight", &[16, 8, 3, 3], &values).measured().unwrap();
    assert_eq!(patterns(&measured, "conv.weight"), [("2:4".to_owned(), 1, Along::Inputs)]);
}

#[test]
fn fused_experts_have_their_inputs_last_or_in_the_middle() {
    let dense_up = |shape: &[u64]| vec![1.0; shape.iter().product::<u64>() as usize];
    // Mixtral: (E, 2 I, H), (E, H, I)
    let (up, down) = ([2, 128, 64], [2, 64, 64]);
    let rows = matrix(128, 64, two_of_four);
    let measured = File::default()
        .f32("l.0.experts.gate_up_proj", &up, &dense_up(&up))
        .f32("l.0.experts.down_proj", &down, &rows)
        .measured_with(json!({"num_local_experts": 2, "num_experts_per_tok": 1}))
        .unwrap();
    assert_eq!(
        patterns(&measured, "l.0.experts.down_proj"),
        [("2:4".to_owned(), 2, Along::Inputs)]
    );
    let experts = measured.experts.unwrap();
    assert_eq!((experts.count, experts.per_token), (2, Some(1)));
    assert_eq!(experts.counts.total_params, 3 * 2 * 64 * 64);
    assert_eq!(measured.pattern, None, "the other tensor is dense");

    // gpt-oss: (E, H, 2 I), (E, I, H)
    let (up, down) = ([2, 64, 128], [2, 64, 64]);
    let transposed = matrix(64, 64, |row, column| two_of_four(column, row));
    let measured = File::default()
        .f32("l.0.experts.gate_up_proj", &up, &dense_up(&up))
        .f32("l.0.experts.down_proj", &down, &[transposed.clone(), transposed].concat())
        .measured_with(json!({"num_local_experts": 4}))
        .unwrap();
    assert_eq!(
        patterns(&measured, "l.0.experts.down_proj"),
        [("2:4".to_owned(), 1, Along::Inputs)]
    );
    assert_eq!(codes(&measured), [WarningCode::ExpertsDiffer]);
}

#[test]
fn experts_with_tensors_of_their_own_are_counted() {
    let mut file = File::default().f32("l.0.mlp.gate.weight", &[3, 2], &[1.0; 6]);
    for expert in 0..3 {
        file = file.f32(&format!("l.0.mlp.experts.{expert}.up_proj.weight"), &[2, 2], &[1.0; 4]);
    }
    let measured = file.measured_with(json!({"n_routed_experts": 3})).unwrap();
    assert_eq!(measured.experts.unwrap().count, 3);
    assert_eq!(measured.prunable.total_params, 12, "the router is not pruned");
}

#[test]
fn a_pattern_that_holds_by_chance_is_not_named() {
    let mut next = choices();
    let values: Vec<f32> = (0..256 * 256).map(|_| (next() % 2) as f32).collect();
    let measured = File::default().f32("a.weight", &[256, 256], &values).measured().unwrap();
    assert!(patterns(&measured, "a.weight").is_empty());
}

#[test]
fn half_zeros_without_a_pattern_are_worth_a_hint() {
    // A 2:4 matrix in column-major order under the shape of the row-major one.
    const PAIRS: [[usize; 2]; 6] = [[0, 1], [2, 3], [0, 3], [1, 2], [0, 2], [1, 3]];
    let mut next = choices();
    let mut column_major = vec![0.0; 96 * 64];
    for row in 0..96 {
        for group in 0..16 {
            for at in PAIRS[next() % 6] {
                column_major[(group * 4 + at) * 96 + row] = 1.0;
            }
        }
    }
    let measured = File::default().f32("a.weight", &[96, 64], &column_major).measured().unwrap();
    assert_eq!(codes(&measured), [WarningCode::HalfWithoutPattern]);
}

#[test]
fn weights_under_torch_prune_are_counted_once_as_their_product() {
    let measured = File::default()
        .f32("a.weight_orig", &[2, 2], &[1.0, 2.0, 0.0, 4.0])
        .f32("a.weight_mask", &[2, 2], &[1.0, 0.0, 1.0, 1.0])
        .f32("a.bias", &[2], &[1.0; 2])
        .measured()
        .unwrap();
    assert_eq!((measured.all.total_params, measured.all.nonzero_params), (6, 4));
    assert_eq!(
        measured.tensors.iter().map(|row| &*row.name).collect::<Vec<_>>(),
        ["a.bias", "a.weight"]
    );
}

#[test]
fn masks_of_bits_and_bytes_are_masks_too() {
    for dtype in ["BOOL", "U8", "I8"] {
        let measured = File::default()
            .tensor("a.weight_orig", "BF16", &[1, 4], &half(&[0x3f80; 4]))
            .tensor("a.weight_mask", dtype, &[1, 4], &[1, 0, 0, 1])
            .measured()
            .unwrap();
        assert_eq!(measured.all.nonzero_params, 2, "{dtype}");
    }
}

#[test]
fn masks_without_weights_and_weights_without_masks_are_refused() {
    let file = File::default().f32("a.weight_orig", &[1, 2], &[1.0; 2]);
    assert_eq!(file.refusal().1, Refusal::NoMask("a.weight_mask".to_owned()));
    let shapes = file.f32("a.weight_mask", &[2, 1], &[1.0; 2]);
    assert_eq!(shapes.refusal(), ("a.weight".to_owned(), Refusal::MaskShape));
    let loose = File::default().f32("a.weight", &[1, 2], &[1.0; 2]).f32(
        "a.weight_mask",
        &[1, 2],
        &[1.0; 2],
    );
    assert_eq!(loose.refusal().1, Refusal::LooseMask("a.weight".to_owned()));
}

#[test]
fn a_parametrised_weight_is_refused_unless_it_has_a_mask() {
    let name = "a.parametrizations.weight.original";
    let file = File::default().f32(name, &[1, 2], &[1.0; 2]);
    assert_eq!(file.refusal(), (name.to_owned(), Refusal::Parametrised));
    let masked = file.tensor("a.parametrizations.weight.0.mask", "BOOL", &[1, 2], &[1, 0]);
    let measured = masked.measured().unwrap();
    assert_eq!((&*measured.tensors[0].name, measured.all.nonzero_params), ("a.weight", 1));
    let norm = File::default().f32("a.parametrizations.weight.original0", &[1, 1], &[1.0]);
    assert_eq!(norm.refusal().1, Refusal::Parametrised);
}

/// The four parts that `bitmask_compress` of compressed-tensors 0.11 writes.
fn bitmask(name: &str, shape: &[u64], bits: &[u8], values: &[f32], offsets: bool) -> File {
    let numbers = |values: &[u64]| values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
    let (columns, rows) = shape.split_last().unwrap();
    let rows: u64 = rows.iter().product();
    let file = File::default()
        .tensor(&format!("{name}.bitmask"), "U8", &[rows, columns.div_ceil(8)], bits)
        .f32(&format!("{name}.compressed"), &[values.len() as u64], values)
        .tensor(&format!("{name}.shape"), "I64", &[shape.len() as u64], &numbers(shape));
    if offsets {
        file.tensor(
            &format!("{name}.row_offsets"),
            "I64",
            &[rows],
            &numbers(&vec![0; rows as usize]),
        )
    } else {
        file
    }
}

#[test]
fn a_bitmask_is_read_with_its_values() {
    // Rows of ten columns, the lowest bit first, padded to two bytes.
    let file = bitmask("a", &[2, 10], &[0b0000_0011, 0b10, 0b1000_0000, 0b01], &[1.0; 5], true);
    let measured = file.measured().unwrap();
    assert_eq!(
        (&*measured.tensors[0].name, &*measured.tensors[0].shape),
        ("a.weight", &[2, 10][..])
    );
    assert_eq!((measured.all.total_params, measured.all.nonzero_params), (20, 5));
    assert_eq!(measured.tensors.len(), 1);
    // Older versions of compressed-tensors name the parts after the weight.
    let older = bitmask("a.weight", &[1, 8], &[1], &[1.0], true).measured().unwrap();
    assert_eq!(older.tensors[0].name, "a.weight");
}

#[test]
fn a_bitmask_of_two_in_four_may_point_to_zeros() {
    // Two bits in four are always set; where three elements are zero, one of the values is zero.
    let values = [1.0, 2.0, 0.0, 4.0, 1.0, 2.0, 3.0, 4.0];
    let measured = bitmask("a", &[2, 8], &[0b0011_0011; 2], &values, false).measured().unwrap();
    assert_eq!((measured.all.total_params, measured.all.nonzero_params), (16, 7));
    assert_eq!(patterns(&measured, "a.weight"), [("2:4".to_owned(), 1, Along::Inputs)]);
}

#[test]
fn a_bitmask_that_does_not_fit_is_refused() {
    let reason = |file: File| match file.refusal() {
        (_, Refusal::Bitmask(detail)) => detail,
        other => panic!("{other:?}"),
    };
    let few = reason(bitmask("a", &[1, 8], &[0b111], &[1.0; 2], true));
    assert_eq!(few, "more bits are set than there are values");
    let many = reason(bitmask("a", &[1, 8], &[0b1], &[1.0; 2], true));
    assert_eq!(many, "there are more values than bits that are set");
    let behind = reason(bitmask("a", &[1, 4], &[0b1_0001], &[1.0; 2], true));
    assert_eq!(behind, "bits are set behind the end of a row");
    let mut shape = bitmask("a", &[1, 8], &[0b1], &[1.0], true);
    let at = shape.data.len() - 16;
    shape.data[at] = 64;
    assert!(reason(shape).starts_with("its bitmask is not one bit"));
    let alone = File::default().tensor("a.bitmask", "U8", &[1, 1], &[0]);
    assert!(reason(alone).starts_with("one of bitmask"));
}

#[test]
fn tied_weights_stand_once() {
    let shared = |file: File| file.f32("model.embed_tokens.weight", &[2, 2], &[1.0, 2.0, 3.0, 4.0]);
    let file = shared(File::default()).f32("lm_head.weight", &[2, 2], &[1.0, 2.0, 3.0, 4.0]);
    for config in [json!({}), json!({"tie_word_embeddings": true})] {
        let measured = file.measured_with(config).unwrap();
        assert_eq!(measured.all.total_params, 4);
        let [left] = &measured.left_out[..] else { panic!("{:?}", measured.left_out) };
        assert_eq!(left.tensor, "lm_head.weight");
        let to = "model.embed_tokens.weight".to_owned();
        assert_eq!(left.reason, LeftOutReason::Tied { to });
    }
    let untied = file.measured_with(json!({"tie_word_embeddings": false})).unwrap();
    assert_eq!(untied.all.total_params, 8);
    let other = shared(File::default()).f32("lm_head.weight", &[2, 2], &[1.0, 2.0, 3.0, 5.0]);
    let other = other.measured_with(json!({"tie_word_embeddings": true})).unwrap();
    assert_eq!((other.all.total_params, codes(&other)), (8, vec![WarningCode::TiedButDifferent]));
}

#[test]
fn t5_shares_its_embeddings_even_where_its_settings_deny_it() {
    let same = [1.0, 2.0, 3.0, 4.0];
    let file = File::default()
        .f32("shared.weight", &[2, 2], &same)
        .f32("encoder.embed_tokens.weight", &[2, 2], &same)
        .f32("decoder.embed_tokens.weight", &[2, 2], &same)
        .f32("decoder.block.0.layer.0.SelfAttention.q.weight", &[2, 2], &same);
    let config = json!({"model_type": "t5", "tie_word_embeddings": false});
    let measured = file.measured_with(config).unwrap();
    assert_eq!((measured.all.total_params, measured.embeddings.total_params), (8, 4));
    assert_eq!(codes(&measured), [WarningCode::OutputLayerMissing]);
}

#[test]
fn masks_beside_a_tied_tensor_are_refused() {
    let masked = |file: File, name: &str| {
        file.f32(&format!("{name}.weight_orig"), &[2, 2], &[1.0, 2.0, 3.0, 4.0]).f32(
            &format!("{name}.weight_mask"),
            &[2, 2],
            &[1.0, 0.0, 1.0, 0.0],
        )
    };
    let tied = |measured| match refusal(measured) {
        (tensor, Refusal::MaskedAndTied(other)) => (tensor, other),
        other => panic!("{other:?}"),
    };
    let both = masked(File::default(), "lm_head").f32("wte.weight", &[2, 2], &[1.0, 2.0, 3.0, 4.0]);
    let expected = ("lm_head.weight".to_owned(), "wte.weight".to_owned());
    assert_eq!(tied(both.measured()), expected, "the same values");
    let other = masked(File::default(), "lm_head").f32("wte.weight", &[2, 2], &[9.0; 4]);
    assert_eq!(tied(other.measured_with(json!({"tie_word_embeddings": true}))), expected);
    assert!(other.measured().is_ok());
    let one = masked(File::default(), "shared");
    assert_eq!(tied(one.measured_with(json!({"model_type": "t5"}))).0, "shared.weight");
    // safetensors' save_model dropped the other name and noted it.
    let noted =
        masked(File::default(), "shared").metadata("lm_head.weight_orig", "shared.weight_orig");
    assert_eq!(tied(noted.measured()).1, "lm_head.weight_orig");
    // An untied embedding may be masked.
    assert_eq!(masked(File::default(), "wte").measured().unwrap().all.nonzero_params, 2);
}

#[test]
fn half_bytes_and_scales_of_powers_of_two_are_understood() {
    // 0, -0, 0.5, -6
    let measured = File::default()
        .tensor("a.weight", "F4", &[1, 4], &[0x80, 0xf1])
        .tensor("a.weight_scale", "F8_E8M0", &[1, 2], &[0, 0])
        .measured()
        .unwrap();
    assert_eq!((measured.all.total_params, measured.all.nonzero_params), (4, 2));
    assert_eq!(measured.left_out[0].reason, LeftOutReason::Scale);
    let sixths = File::default().tensor("a.weight", "F6_E2M3", &[1, 4], &[0; 3]);
    assert_eq!(sixths.refusal().1, Refusal::Layout("F6_E2M3"));
}

#[test]
fn the_nan_of_fnuz_is_no_zero_and_the_minus_zero_of_others_is_one() {
    let of = |dtype| {
        let file = File::default().tensor("a.weight", dtype, &[1, 4], &[0x00, 0x80, 0x38, 0x38]);
        let measured = file.measured().unwrap();
        (measured.all.nonzero_params, measured.tensors[0].not_finite)
    };
    for dtype in ["F8_E4M3FNUZ", "F8_E5M2FNUZ"] {
        assert_eq!(of(dtype), (3, 1));
    }
    for dtype in ["F8_E4M3", "F8_E5M2"] {
        assert_eq!(of(dtype), (2, 0));
    }
}

#[test]
fn packed_integers_are_refused_by_type() {
    for (name, dtype) in [
        ("a.qweight", "I32"),
        ("a.weight_packed", "I32"),
        ("a.weight_packed", "U8"),
        ("a.weight", "U8"),
        ("l.experts.gate_up_proj_blocks", "U8"),
    ] {
        let file = File::default().tensor(
            name,
            dtype,
            &[1, 4],
            &vec![0; if dtype == "U8" { 4 } else { 16 }],
        );
        let (_, Refusal::Packed(refused)) = file.refusal() else { panic!("{name}") };
        assert_eq!(refused, dtype);
    }
}

#[test]
fn bytes_are_counted_unless_they_have_a_zero_point() {
    let file = File::default().tensor("a.weight", "I8", &[1, 4], &[0, 5, 0x80, 0]).f32(
        "a.weight_scale",
        &[1, 1],
        &[0.1],
    );
    let measured = file.measured().unwrap();
    assert_eq!((measured.all.total_params, measured.all.nonzero_params), (4, 2));
    assert_eq!(codes(&measured), [WarningCode::QuantisedWeights]);
    let shifted = file.tensor("a.weight_zero_point", "I8", &[1, 1], &[3]);
    assert_eq!(shifted.refusal().1, Refusal::ZeroPoint);
}

#[test]
fn buffers_are_no_parameters() {
    let measured = File::default()
        .f32("h.0.attn.bias", &[1, 1, 2, 2], &[1.0, 0.0, 1.0, 1.0])
        .f32("h.0.attn.masked_bias", &[], &[-1e4])
        .tensor("embeddings.position_ids", "I64", &[1, 1], &[0; 8])
        .f32("bn.running_mean", &[2], &[0.0; 2])
        .f32("h.0.attn.c_proj.bias", &[2], &[1.0; 2])
        .measured()
        .unwrap();
    assert_eq!(measured.all.total_params, 2);
    assert_eq!(measured.left_out.len(), 4);
}

#[test]
fn zeros_of_underflow_are_told_from_pruned_ones() {
    // 40 zeros and 60 non-zeros, of which 40 have the smallest magnitude: half of that number, 20 zeros, come from
    // rounding.
    let bits: Vec<u16> =
        (0..100).map(|at| [0, 1, 0x8001, 0x3c00, 0][at % 5]).map(|bits| bits as u16).collect();
    let file = File::default().tensor("a.weight", "F16", &[10, 10], &half(&bits));
    let measured = file.measured().unwrap();
    assert_eq!(codes(&measured), [WarningCode::RoundingZeros]);
    assert!(measured.warnings[0].detail.starts_with("some 20 zeros in 1 tensors"));
    let pruned: Vec<u16> = (0..100).map(|at| if at % 5 == 0 { 0 } else { 0x3c00 }).collect();
    let file = File::default().tensor("a.weight", "F16", &[10, 10], &half(&pruned));
    assert!(file.measured().unwrap().warnings.is_empty());
}

#[test]
fn what_is_not_finite_or_zero_throughout_is_told() {
    let measured = File::default()
        .f32("a.weight", &[1, 2], &[f32::NAN, f32::INFINITY])
        .f32("b.weight", &[2, 2], &[0.0; 4])
        .measured()
        .unwrap();
    assert_eq!(codes(&measured), [WarningCode::NotFinite, WarningCode::AllZero]);
    assert_eq!(measured.all.nonzero_params, 2);
}

#[test]
fn an_adapter_is_no_model() {
    let file = File::default().f32("m.q_proj.lora_A.weight", &[1, 2], &[1.0; 2]);
    assert_eq!(file.refusal().1, Refusal::Adapter);
}

#[test]
fn other_formats_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let of = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        measure(&path, &mut |_| {}).unwrap_err().to_string()
    };
    let gguf = [b"GGUF".as_slice(), &3_u32.to_le_bytes(), &[0; 16]].concat();
    assert!(of("a.gguf", &gguf).contains("Q4_0 makes 55 % zeros of 50 %"));
    assert!(of("a.bin", b"PK\x03\x04\x00\x00\x08\x08").contains("ZIP archive, as torch.save"));
    assert!(of("a.pt", b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j").contains("pickle"));
    assert!(of("a.safetensors", b"{}").contains("shorter than 8 bytes"));
    let error = measure(folder.path(), &mut |_| {}).unwrap_err();
    // The folder has one file with the right name, but it is damaged.
    assert!(matches!(error, MeasureError::NotSafetensors { .. }), "{error}");
}

#[test]
fn a_header_that_begins_like_a_pickle_is_read() {
    // A header of 0x10280 bytes, whose length begins like a pickle.
    let mut file = File::default().f32("a.weight", &[1, 1], &[1.0]);
    let length = file.bytes().len() - 12;
    file = file.metadata("x", "");
    let with = file.bytes().len() - 12;
    file.header.insert("__metadata__".to_owned(), json!({"x": "y".repeat(0x1_0280 - with)}));
    assert!(with > length && file.bytes()[..8] == [0x80, 2, 1, 0, 0, 0, 0, 0]);
    assert_eq!(file.measured().unwrap().all.nonzero_params, 1);
}

#[test]
fn damaged_files_are_refused() {
    let whole = File::default().f32("a.weight", &[1, 2], &[1.0; 2]).bytes();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    for bytes in
        [&whole[..whole.len() - 1], &[&whole[..], &[0]].concat(), &whole[..20], &[0xff; 16]]
    {
        fs::write(&path, bytes).unwrap();
        let error = measure(&path, &mut |_| {}).unwrap_err();
        assert!(matches!(error, MeasureError::NotSafetensors { .. }), "{error}");
    }
    fs::write(&path, File::default().bytes()).unwrap();
    assert!(matches!(measure(&path, &mut |_| {}), Err(MeasureError::Empty(_))));
}

#[test]
fn folders_say_what_they_lack() {
    let folder = tempfile::tempdir().unwrap();
    let told = || measure(folder.path(), &mut |_| {}).unwrap_err().to_string();
    assert!(told().ends_with("has no safetensors file"));
    fs::write(folder.path().join("pytorch_model.bin"), "").unwrap();
    assert!(told().ends_with("but pytorch_model.bin: convert it first"));
    for name in ["a.safetensors", "b.safetensors"] {
        fs::write(folder.path().join(name), "").unwrap();
    }
    assert!(told().ends_with("name one of a.safetensors, b.safetensors"));
}

/// Distributes tensors over files in turn, and writes an index.
fn sharded(tensors: &[(String, Vec<u64>, Vec<f32>)], shards: usize) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut map = Map::new();
    for shard in 0..shards {
        let name = format!("model-{shard}.safetensors");
        let mut file = File::default();
        for (tensor, shape, values) in tensors.iter().skip(shard).step_by(shards) {
            file = file.f32(tensor, shape, values);
            map.insert(tensor.clone(), json!(name));
        }
        fs::write(folder.path().join(name), file.bytes()).unwrap();
    }
    write_index(folder.path(), &map);
    folder
}

fn write_index(folder: &Path, map: &Map<String, Value>) {
    let index = json!({"metadata": {"total_size": 0}, "weight_map": map});
    fs::write(folder.join("model.safetensors.index.json"), index.to_string()).unwrap();
}

/// A file with tensors of every kind that is recognised.
fn everything() -> File {
    let mut file = bitmask("c", &[2, 10], &[3, 2, 0x80, 1], &[1.0; 5], true);
    for (name, values) in
        [("a.weight_orig", 1.0), ("a.weight_mask", 1.0), ("h.experts.9.w.weight", 2.0)]
    {
        file = file.f32(name, &[2, 4], &[values; 8]);
    }
    file.tensor("f.weight", "F4", &[1, 4], &[0x80, 0xf1])
        .tensor("f.weight_scale", "F8_E8M0", &[1, 2], &[0, 0])
        .f32("h.0.attn.c_attn.weight", &[2, 6], &[1.0; 12])
        .f32("wte.weight", &[2, 2], &[1.0; 4])
        .f32("lm_head.weight", &[2, 2], &[1.0; 4])
}

proptest! {
    #[test]
    fn damage_is_refused_or_counted_and_never_a_crash(
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        digits in any::<bool>(),
    ) {
        let mut bytes = everything().bytes();
        for (place, byte) in damage {
            let place = place.index(bytes.len());
            // Replacing digits by other digits gives shapes and offsets that do not match.
            let digit = bytes[place].is_ascii_digit();
            bytes[place] = if digits && digit { b'0' + byte % 10 } else { byte };
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        fs::write(&path, bytes).unwrap();
        if let Ok(measured) = measure(&path, &mut |_| {}) {
            prop_assert!(measured.all.nonzero_params <= measured.all.total_params);
        }
    }
}

#[test]
fn empty_tensors_of_huge_shapes_are_nothing() {
    let huge = 1 << 62;
    let measured = File::default()
        .f32("a.weight", &[0, huge, 8], &[])
        .f32("h.0.attn.c_attn.weight", &[huge, 0], &[])
        .f32("l.experts.18446744073709551615.weight", &[2, 2], &[1.0; 4])
        .measured()
        .unwrap();
    assert_eq!((measured.all.total_params, measured.experts.unwrap().count), (4, u64::MAX));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn shards_hold_what_one_file_holds(
        tensors in proptest::collection::vec(
            (1..=40_u64, 1..=40_u64).prop_flat_map(|(rows, columns)| {
                let values = prop_oneof![Just(0.0_f32), Just(-0.0), -1.0..1.0_f32];
                let values = proptest::collection::vec(values, (rows * columns) as usize);
                (Just(vec![rows, columns]), values)
            }),
            1..8,
        ),
        shards in 1..5_usize,
    ) {
        let names = ["embed_tokens", "q_proj", "k_proj_orig_like", "up", "down", "lm_head", "wte"];
        let tensors: Vec<_> = tensors
            .into_iter()
            .zip(names)
            .map(|((shape, values), name)| (format!("m.{name}.weight"), shape, values))
            .collect();
        let (one, many) = (sharded(&tensors, 1), sharded(&tensors, shards));
        let one = measure(&one.path().join("model-0.safetensors"), &mut |_| {}).unwrap();
        let mut told = Vec::new();
        let many = measure(many.path(), &mut |progress| told.push(progress)).unwrap();
        prop_assert_eq!(&one, &many);
        let last = told.last().unwrap();
        prop_assert_eq!((last.done, last.of), (many.bytes, many.bytes));
        let nonzero: usize = many.tensors.iter().map(|row| {
            let (_, _, values) = tensors.iter().find(|(name, ..)| *name == row.name).unwrap();
            values.iter().filter(|value| **value != 0.0).count()
        }).sum();
        prop_assert_eq!(many.all.nonzero_params, nonzero as u64);
    }
}

#[test]
fn a_mask_may_lie_in_another_shard() {
    let tensors = [
        ("a.weight_mask".to_owned(), vec![1, 2], vec![1.0, 0.0]),
        ("a.weight_orig".to_owned(), vec![1, 2], vec![1.0, 1.0]),
    ];
    let folder = sharded(&tensors, 2);
    assert_eq!(measure(folder.path(), &mut |_| {}).unwrap().all.nonzero_params, 1);
}

#[test]
fn an_index_that_does_not_fit_its_files_is_refused_or_told() {
    let tensors = [
        ("a.weight".to_owned(), vec![1, 2], vec![1.0, 0.0]),
        ("b.weight".to_owned(), vec![1, 2], vec![1.0, 0.0]),
    ];
    let folder = sharded(&tensors, 1);
    let index = |map: Value| write_index(folder.path(), map.as_object().unwrap());
    index(json!({"a.weight": "model-0.safetensors"}));
    let measured = measure(folder.path(), &mut |_| {}).unwrap();
    assert_eq!((measured.all.total_params, codes(&measured)), (2, vec![WarningCode::NotInIndex]));
    for (map, detail) in [
        (json!({"c.weight": "model-0.safetensors"}), "c.weight is not in model-0.safetensors"),
        (json!({"a.weight": "../a"}), "../a is not the name of a file beside it"),
        (json!({"a.weight": ".."}), ".. is not the name of a file beside it"),
    ] {
        index(map);
        let error = measure(folder.path(), &mut |_| {}).unwrap_err();
        assert!(matches!(&error, MeasureError::Index { .. }), "{error}");
        assert!(error.to_string().ends_with(detail), "{error}");
    }
}

#[test]
fn roles_are_in_the_rows() {
    let measured = File::default()
        .f32("a.weight", &[1, 2], &[1.0; 2])
        .f32("b.gamma", &[1, 2], &[1.0; 2])
        .measured()
        .unwrap();
    let roles: Vec<Role> = measured.tensors.iter().map(|row| row.role).collect();
    assert_eq!(roles, [Role::Matrix, Role::Vector], "a scale with an axis of length 1 is a vector");
    let json = serde_json::to_value(&measured).unwrap();
    assert_eq!(json["tensors"][0]["role"], "matrix");
    assert_eq!(json["all"]["nonzero_params"], 4);
}
