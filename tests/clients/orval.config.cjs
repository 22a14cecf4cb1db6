// Configuration of orval for the document that DOCUMENT names. A CommonJS file, as orval finds no default export in
// an ES module.
module.exports = {
  planner: {
    input: { target: process.env.DOCUMENT },
    output: {
      target: "orval/planner.ts",
      client: "fetch",
      override: { mutator: { path: "orval-fetch.ts", name: "fetchFromService", extension: ".js" } },
    },
  },
};
