-- What a machine does in an hour and what that costs, zeros that are experts, and what steps of experts cost. Only adds:
-- a service of the version before reads and writes on, and answers of weights where the zeros are experts.

ALTER TABLE hardware_profiles
    ADD COLUMN flops_per_second double precision,
    ADD COLUMN utilisation double precision,
    ADD COLUMN devices integer,
    ADD COLUMN price_per_hour double precision,
    ADD COLUMN expert_costs jsonb NOT NULL DEFAULT '{}',
    ADD CONSTRAINT hardware_profiles_rates_check CHECK (
        flops_per_second BETWEEN 1 AND 1e30 AND utilisation > 0 AND utilisation <= 1
        AND devices BETWEEN 1 AND 100000000 AND price_per_hour > 0 AND price_per_hour <= 1e12
    ),
    ADD CONSTRAINT hardware_profiles_expert_costs_check CHECK (jsonb_typeof(expert_costs) = 'object');

COMMENT ON COLUMN hardware_profiles.flops_per_second IS 'FLOPs of dense work that one device does in a second at full utilisation; NULL where unknown.';
COMMENT ON COLUMN hardware_profiles.utilisation IS 'Share of flops_per_second that training achieves; NULL for 1.';
COMMENT ON COLUMN hardware_profiles.devices IS 'Devices that train at once; NULL for 1.';
COMMENT ON COLUMN hardware_profiles.price_per_hour IS 'Price of an hour of one device, in a currency of the owner; NULL where unknown.';
COMMENT ON COLUMN hardware_profiles.expert_costs IS 'Measured cost of a step by number of experts, relative to a dense model of as many active parameters: an object of numbers.';

ALTER TABLE families
    ADD COLUMN zeros text NOT NULL DEFAULT 'weights',
    ADD COLUMN experts jsonb,
    ADD CONSTRAINT families_zeros_check CHECK (zeros IN ('weights', 'experts')),
    ADD CONSTRAINT families_experts_check CHECK (
        experts IS NULL OR (jsonb_typeof(experts) = 'object' AND zeros = 'experts')
    );

COMMENT ON COLUMN families.zeros IS 'What the zeros of its models are: weights, or experts that a token does not pass.';
COMMENT ON COLUMN families.experts IS 'Mixtures of experts that can be deployed: an object of counts, active and shared_share; NULL where none are said.';

ALTER TABLE laws
    ADD COLUMN zeros text NOT NULL DEFAULT 'weights',
    ADD COLUMN experts jsonb;

COMMENT ON COLUMN laws.zeros IS 'What the zeros of the family were when the law was made.';
COMMENT ON COLUMN laws.experts IS 'Mixtures of experts of the family when the law was made.';
