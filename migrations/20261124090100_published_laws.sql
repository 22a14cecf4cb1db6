-- The two laws of the paper, so that the first question can be asked before the first upload.
--
-- The numbers are those of src/law/published.rs, to the last bit; a test compares them. As a
-- migration they come once: families that somebody deletes stay deleted.

INSERT INTO families (
    id, name, description, data_unit, tokens_per_data_unit, flops_per_param,
    pruning_start, pruning_end, pruning_exponent, residual, delta, created_at, updated_at
)
VALUES (
    '018a9623-2400-7000-8000-000000000001', 't5-c4',
    'T5 on C4 (language), as published: arXiv 2309.08520. Data in tokens; one step of the paper is 65,536 tokens.',
    'tokens', 1, 6, 0.25, 0.75, 3, 'log', 0.001, '2023-09-15T00:00:00Z', '2023-09-15T00:00:00Z'
);

INSERT INTO laws (
    id, family_id, version, source, reference, a_s, b_s, c_s, b_n, a_d, b_d, c, objective, runs,
    data_unit, flops_per_param, pruning_start, pruning_end, pruning_exponent, support, warnings,
    fitted_at, created_at
)
VALUES (
    '018a9623-2400-7000-8000-000000000003', '018a9623-2400-7000-8000-000000000001', 1, 'published',
    'arXiv:2309.08520, notebook of google-research/jaxpruner, projects/bigsparse',
    16.787050107077444, 0.72161276, 45.01844735112024, 0.24513173, 689991261.9177524, 0.20270772, 0.65074219,
    7.603605e-6, 48, 'tokens', 6, 0.25, 0.75, 3,
    '[
            {"sparsity": 0.0, "runs": 12, "nonzero_params": {"min": 1327104.0, "max": 84934656.0}, "data": {"min": 16384000000.0, "max": 65536000000.0}, "params_times_data": {"min": 2.1743271936e+16, "max": 5.566277615616e+18}},
            {"sparsity": 0.5, "runs": 12, "nonzero_params": {"min": 1327104.0, "max": 84934656.0}, "data": {"min": 16384000000.0, "max": 65536000000.0}, "params_times_data": {"min": 2.1743271936e+16, "max": 5.566277615616e+18}},
            {"sparsity": 0.75, "runs": 12, "nonzero_params": {"min": 1327104.0, "max": 84934656.0}, "data": {"min": 16384000000.0, "max": 65536000000.0}, "params_times_data": {"min": 2.1743271936e+16, "max": 5.566277615616e+18}},
            {"sparsity": 0.875, "runs": 12, "nonzero_params": {"min": 1327104.0, "max": 84934656.0}, "data": {"min": 16384000000.0, "max": 65536000000.0}, "params_times_data": {"min": 2.1743271936e+16, "max": 5.566277615616e+18}}
        ]',
    '[]', '2023-09-15T00:00:00Z', '2023-09-15T00:00:00Z'
);

INSERT INTO families (
    id, name, description, data_unit, tokens_per_data_unit, flops_per_param,
    pruning_start, pruning_end, pruning_exponent, residual, delta, created_at, updated_at
)
VALUES (
    '018a9623-2400-7000-8000-000000000002', 'vit-jft',
    'ViT on JFT-4B (vision), as published: arXiv 2309.08520. Data in images.',
    'images', NULL, 6, 0.25, 0.75, 3, 'linear', 0.01, '2023-09-15T00:00:00Z', '2023-09-15T00:00:00Z'
);

INSERT INTO laws (
    id, family_id, version, source, reference, a_s, b_s, c_s, b_n, a_d, b_d, c, objective, runs,
    data_unit, flops_per_param, pruning_start, pruning_end, pruning_exponent, support, warnings,
    fitted_at, created_at
)
VALUES (
    '018a9623-2400-7000-8000-000000000004', '018a9623-2400-7000-8000-000000000002', 1, 'published',
    'arXiv:2309.08520, notebook of google-research/jaxpruner, projects/bigsparse',
    294.3895961785651, 0.82101251, 468.15738289900344, 0.39222675, 237412873.8420379, 0.88979104, 4.51669257,
    4.929088e-4, 112, 'images', 6, 0.25, 0.75, 3,
    '[
            {"sparsity": 0.0, "runs": 28, "nonzero_params": {"min": 663552.0, "max": 42467328.0}, "data": {"min": 225000000.0, "max": 1800000000.0}, "params_times_data": {"min": 149299200000000.0, "max": 7.64411904e+16}},
            {"sparsity": 0.5, "runs": 28, "nonzero_params": {"min": 663552.0, "max": 42467328.0}, "data": {"min": 225000000.0, "max": 1800000000.0}, "params_times_data": {"min": 149299200000000.0, "max": 7.64411904e+16}},
            {"sparsity": 0.75, "runs": 28, "nonzero_params": {"min": 663552.0, "max": 42467328.0}, "data": {"min": 225000000.0, "max": 1800000000.0}, "params_times_data": {"min": 149299200000000.0, "max": 7.64411904e+16}},
            {"sparsity": 0.875, "runs": 20, "nonzero_params": {"min": 663552.0, "max": 10616832.0}, "data": {"min": 225000000.0, "max": 1800000000.0}, "params_times_data": {"min": 149299200000000.0, "max": 1.91102976e+16}},
            {"sparsity": 0.9375, "runs": 8, "nonzero_params": {"min": 663552.0, "max": 1327104.0}, "data": {"min": 225000000.0, "max": 1800000000.0}, "params_times_data": {"min": 149299200000000.0, "max": 2388787200000000.0}}
        ]',
    '[]', '2023-09-15T00:00:00Z', '2023-09-15T00:00:00Z'
);
