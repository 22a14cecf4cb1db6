-- Optimal sparsities of models and budgets anywhere over four decades of each, for wrk: no two alike.
math.randomseed(7)
request = function()
    local size = 10 ^ (6 + 4 * math.random())
    local compute = size * size * 10 ^ (2 + 4 * math.random())
    local query = string.format("nonzero_params=%.6e&compute=%.6e&flop_mode=sparse", size, compute)
    return wrk.format("GET", "/v1/families/demo/optimal-sparsity?" .. query)
end
