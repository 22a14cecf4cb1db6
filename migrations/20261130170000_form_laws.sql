-- Laws of forms with coefficients of their own. Only adds: a service of the version before reads and writes on, and takes
-- each of these laws for one that knows nothing of sparsity.

ALTER TABLE law_resamples ADD COLUMN form_values double precision[];

COMMENT ON COLUMN law_resamples.form_values IS 'Coefficients of the form that the seven columns do not hold, those of the first resample before those of the second; how many each has and what they are says laws.shape. NULL of other forms.';
