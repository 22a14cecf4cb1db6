// Asks one question by a client that @hey-api/openapi-ts generates, and prints its answer.
import { createClient } from "./hey-api/client/index.js";
import { getOptimalSparsity } from "./hey-api/sdk.gen.js";

declare const process: { env: Record<string, string | undefined> };

const base = process.env["BASE"];
if (!base) throw new Error("BASE says where the service is");

const { data, error } = await getOptimalSparsity({
  client: createClient({ baseUrl: base }),
  path: { family: "t5-c4" },
  query: { nonzero_params: 1e8, compute: 1e19, flop_mode: "sparse" },
});
if (!data) throw new Error(JSON.stringify(error));
// Typed as the document has them: this compiles only if they are.
const sparsity: number = data.sparsity;
const version: number = data.law.version;

console.log(JSON.stringify({ sparsity, loss: data.loss, version }));
