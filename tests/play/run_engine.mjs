// Run the engine of a page in Node: `node run_engine.mjs PAGE.html < questions.json > answers.json`, see test_play.py.
import fs from "node:fs";
import vm from "node:vm";

const page = fs.readFileSync(process.argv[2], "utf8");
const questions = JSON.parse(fs.readFileSync(0, "utf8"));
const part = (id) => page.match(new RegExp(`<script[^>]* id="${id}"[^>]*>([^]*?)</script>`))[1];

vm.runInThisContext(part("engine"));
const { readModel, bytesOf, buildNetwork, makeTable, reverseProcess, normals, startOf } = vm.runInThisContext(
  "({ readModel, bytesOf, buildNetwork, makeTable, reverseProcess, normals, startOf })",
);
const model = readModel(part("model"));
const network = buildNetwork(model, bytesOf(part("weights")), questions.plain ? null : bytesOf(model.kernel));
const floats = (numbers) => (numbers ? Float32Array.from(numbers) : null);

const answers = {
  /** The network's output for {x, t, labels}: one image for each label. */
  evaluate: ({ x, t, labels }) =>
    network.evaluate(floats(x), Math.fround(t / model.alphaBars.length), labels).map((image) => [...image]),
  /** The rows of a table for {sampler, steps, resample, from}. */
  table: (run) => makeTable(model, run),
  /** The finished image for {run, x, label, guidance, noise: one image for each row, known, mask}. */
  draw: ({ run, x, label, guidance, noise, known, mask }) => {
    const process = reverseProcess(network, model, {
      table: makeTable(model, run), x: floats(x), label, guidance, noise: (row) => floats(noise[row]),
      known: floats(known), mask: floats(mask),
    });
    return [...[...process].at(-1).x];
  },
  normals: ({ seed, stream, count }) => [...normals(seed, stream, count)],
  start: ({ seed, from, picture }) => [...startOf(model, { seed, from, picture: floats(picture) })],
};
const answered = questions.ask.map(([name, question]) => answers[name](question));
process.stdout.write(JSON.stringify({ simd: network.simd, answers: answered }));
