// Run the engine of the committed page in Node: `node run_engine.mjs PAGE.html < questions.json > answers.json`.
// A question is {evaluate: [{x, t, labels}, …]} or {draw: [{run, x, noise, known, mask}, …]} or {normals: [{seed, …}]}.
import fs from "node:fs";
import vm from "node:vm";

const page = fs.readFileSync(process.argv[2], "utf8");
const questions = JSON.parse(fs.readFileSync(0, "utf8"));
const part = (id) => page.match(new RegExp(`<script[^>]* id="${id}"[^>]*>([^]*?)</script>`))[1];

vm.runInThisContext(part("engine"));
const model = vm.runInThisContext("readModel")(part("model"));
const { bytesOf, buildNetwork, makeTable, reverseProcess, normals } = vm.runInThisContext(
  "({ bytesOf, buildNetwork, makeTable, reverseProcess, normals })",
);
const kernel = questions.plain ? null : bytesOf(model.kernel);
const network = buildNetwork(model, bytesOf(part("weights")), kernel);
const floats = (numbers) => (numbers ? Float32Array.from(numbers) : null);

const evaluated = (questions.evaluate ?? []).map(({ x, t, labels }) =>
  network.evaluate(floats(x), Math.fround(t / model.alphaBars.length), labels).map((image) => [...image]),
);
const tables = (questions.tables ?? []).map((run) => makeTable(model, run));
const started = performance.now();
const drawn = (questions.draw ?? []).map(({ run, x, label, guidance, noise, known, mask }) => {
  const table = makeTable(model, run);
  const frames = [...reverseProcess(network, model, {
    table, x: floats(x), label, guidance, noise: (row) => floats(noise[row]), known: floats(known), mask: floats(mask),
  })];
  return [...frames.at(-1).x];
});
const seconds = (performance.now() - started) / 1000;
const noises = (questions.normals ?? []).map(({ seed, stream, count }) => [...normals(seed, stream, count)]);
process.stdout.write(JSON.stringify({ simd: network.simd, evaluated, tables, drawn, seconds, noises }));
