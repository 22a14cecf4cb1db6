// Configuration of @hey-api/openapi-ts for the document that DOCUMENT names.
export default {
  input: process.env.DOCUMENT,
  output: { path: "hey-api", module: { extension: ".js" } },
  plugins: ["@hey-api/client-fetch"],
};
