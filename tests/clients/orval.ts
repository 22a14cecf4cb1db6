// Asks one question by a client that orval generates, and prints its answer.
import { getOptimalSparsity } from "./orval/planner.js";

const { status, data } = await getOptimalSparsity("t5-c4", { nonzero_params: 1e8, compute: 1e19, flop_mode: "sparse" });
if (status !== 200) throw new Error(JSON.stringify(data));
// Typed as the document has them: this compiles only if they are.
const sparsity: number = data.sparsity;
const version: number = data.law.version;

console.log(JSON.stringify({ sparsity, loss: data.loss, version }));
