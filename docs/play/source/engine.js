"use strict";
/* The engine: the network `fast_conditional`, the samplers' tables and the reverse loop, on plain typed arrays.
 *
 * Names and order follow the Python package: labutils/networks/fast.py, labutils/sampling/samplers.py, inpainting.py
 * and reverse.py. The same text runs in the page, in a worker and in Node. Images are Float32Array of side × side
 * numbers, −1 black … 1 white.
 */

// ---- Convolution ----------------------------------------------------------------------------------------------------

/** The loop nest of kernel.wat without SIMD, for a browser that has none, and to read. All addresses are bytes.
 *
 * `table` holds, for each group of 4 pixels, 4 addresses to read from and 4 to write to. Each pixel reads `rows` rows of
 * `rowBytes` bytes; `skip` leads from the end of a row to the start of the next. Weights are ordered
 * [block][row][value in the row][8 channels]; a block is 8 output channels. */
function convolvePlain(buffer) {
  const f = new Float32Array(buffer), addresses = new Int32Array(buffer);
  return (table, groups, weights, bias, rows, rowBytes, skip, blocks) => {
    const perRow = rowBytes >> 2;
    for (let block = 0; block < blocks; block++) {
      const first = (weights >> 2) + block * rows * perRow * 8;
      for (let pixel = 0; pixel < 4 * groups; pixel++) {
        const entry = (table >> 2) + (pixel >> 2) * 8 + (pixel & 3);
        let x = addresses[entry] >> 2, w = first;
        let [s0, s1, s2, s3, s4, s5, s6, s7] = f.subarray((bias >> 2) + block * 8);
        for (let row = 0; row < rows; row++, x += skip >> 2) {
          for (const end = x + perRow; x < end; x++, w += 8) {
            const value = f[x];
            s0 += value * f[w]; s1 += value * f[w + 1]; s2 += value * f[w + 2]; s3 += value * f[w + 3];
            s4 += value * f[w + 4]; s5 += value * f[w + 5]; s6 += value * f[w + 6]; s7 += value * f[w + 7];
          }
        }
        f.set([s0, s1, s2, s3, s4, s5, s6, s7], (addresses[entry + 4] >> 2) + block * 8);
      }
    }
  };
}

// ---- The network ----------------------------------------------------------------------------------------------------

/** Build the network.
 *
 * @param model what `python -m labutils play` wrote: side, widths, blocks, classes, layers.
 * @param weights Uint8Array of all layers; see `unpackLayer`.
 * @param kernel Uint8Array of kernel.wasm, or null for plain JavaScript.
 * @returns {evaluate(x, time, labels), simd}: `evaluate` runs one image with one or two labels, as a small batch, and
 *     returns one Float32Array for each label; label −1 means "no label". `time` is t/T.
 */
function buildNetwork(model, weights, kernel) {
  const { side, classes } = model, half = side / 2, quarter = side / 4;
  const [wide, deep] = model.widths, BATCH = 2;
  let top = 16; // the next free byte
  const take = (count) => { const at = top; top += 4 * Math.ceil(count / 4) * 4; return at; };

  // A map of activations for a batch: side + 2 pixels a side. The border stays 0: that is the padding.
  const map = (pixels, channels) => {
    const count = BATCH * (pixels + 2) ** 2 * channels;
    return { pixels, channels, count, at: take(count) };
  };
  const address = (m, b, y, x) => m.at + 4 * m.channels * ((b * (m.pixels + 2) + y) * (m.pixels + 2) + x);
  const seen = map(half, 6 + classes), x = map(half, wide), s = map(half, wide), h = map(half, wide), left = map(half, 8);
  const q = map(quarter, deep), qs = map(quarter, deep), qh = map(quarter, deep), grown = map(quarter, 4 * wide);

  const plans = {};
  for (const layer of model.layers) {
    const blocks = Math.ceil(layer.outputs / 8);
    const size = layer.taps ** 2 * layer.inputs * blocks * 8;
    plans[layer.name] = { layer, blocks, weights: take(size), bias: take(blocks * 8), tables: new Map() };
  }
  const tables = top;
  const memory = new WebAssembly.Memory({ initial: Math.ceil(tables / 65536) + 4 });
  const f = new Float32Array(memory.buffer), addresses = new Int32Array(memory.buffer);
  for (const plan of Object.values(plans)) unpackLayer(f, plan, weights);

  let convolve = null;
  if (kernel) {
    try {
      convolve = new WebAssembly.Instance(new WebAssembly.Module(kernel), { env: { memory } }).exports.convolve;
    } catch { /* this browser has no SIMD */ }
  }
  const simd = convolve !== null;
  convolve ??= convolvePlain(memory.buffer);

  // The table of a layer: where each pixel of `to` reads and writes. An incomplete last group repeats the last pixel.
  function pixelTable(plan, from, to, batch) {
    const { taps } = plan.layer, stride = from.pixels / to.pixels;
    // Keras pads "same" by 1 on both sides at stride 1, but at stride 2 only behind. Our border is one pixel wide.
    const shift = taps === 1 || stride === 2 ? 1 : 0;
    const count = batch * to.pixels ** 2, groups = Math.ceil(count / 4), at = take(8 * groups);
    for (let i = 0; i < 4 * groups; i++) {
      const j = Math.min(i, count - 1), b = Math.floor(j / to.pixels ** 2);
      const row = Math.floor(j / to.pixels) % to.pixels, column = j % to.pixels;
      const entry = at / 4 + (i >> 2) * 8 + (i & 3);
      addresses[entry] = address(from, b, row * stride + shift, column * stride + shift);
      addresses[entry + 4] = address(to, b, row + 1, column + 1);
    }
    return { at, groups };
  }

  function conv(name, from, to, batch) {
    const plan = plans[name], { taps } = plan.layer;
    if (!plan.tables.has(batch)) plan.tables.set(batch, pixelTable(plan, from, to, batch));
    const { at, groups } = plan.tables.get(batch), rowBytes = 4 * taps * from.channels;
    const skip = 4 * (from.pixels + 2) * from.channels - rowBytes;
    convolve(at, groups, plan.weights, plan.bias, taps, rowBytes, skip, plan.blocks);
  }

  function silu(from, to, batch) { // x · sigmoid(x); the border's 0 stays 0
    const n = from.count * batch / BATCH, a = from.at >> 2, b = to.at >> 2;
    for (let i = 0; i < n; i++) { const v = f[a + i]; f[b + i] = v === 0 ? 0 : v / (1 + Math.exp(-v)); }
  }

  function block(name, x, s, h, batch) { // x ← x + conv(silu(conv(silu(x))))
    silu(x, s, batch);
    conv(`${name}_a`, s, h, batch);
    silu(h, h, batch);
    conv(`${name}_b`, h, s, batch);
    const n = x.count * batch / BATCH, a = x.at >> 2, b = s.at >> 2;
    for (let i = 0; i < n; i++) f[a + i] += f[b + i];
  }

  function enter(image, time, label, b) { // space_to_depth; then time and label as channels
    for (let row = 0; row < half; row++) {
      for (let column = 0; column < half; column++) {
        const at = address(seen, b, row + 1, column + 1) >> 2, pixel = 2 * row * side + 2 * column;
        f[at] = image[pixel];
        f[at + 1] = image[pixel + 1];
        f[at + 2] = image[pixel + side];
        f[at + 3] = image[pixel + side + 1];
        f[at + 4] = time;
        for (let k = 0; k <= classes; k++) f[at + 5 + k] = k === label + 1 ? 1 : 0;
      }
    }
  }

  function join(b) { // x ← depth_to_space(grown) + x
    for (let row = 0; row < half; row++) {
      for (let column = 0; column < half; column++) {
        const to = address(x, b, row + 1, column + 1) >> 2;
        const from = (address(grown, b, (row >> 1) + 1, (column >> 1) + 1) >> 2) + ((row & 1) * 2 + (column & 1)) * wide;
        for (let k = 0; k < wide; k++) f[to + k] += f[from + k];
      }
    }
  }

  function leave(b) { // depth_to_space
    const image = new Float32Array(side * side);
    for (let i = 0; i < side * side; i++) {
      const row = Math.floor(i / side), column = i % side;
      const at = address(left, b, (row >> 1) + 1, (column >> 1) + 1) >> 2;
      image[i] = f[at + (row & 1) * 2 + (column & 1)];
    }
    return image;
  }

  function evaluate(image, time, labels) {
    const batch = labels.length;
    labels.forEach((label, b) => enter(image, time, label, b));
    conv("conv_in", seen, x, batch);
    for (let i = 0; i < model.blocks[0]; i++) block(`down_${i}`, x, s, h, batch);
    conv("downsample", x, q, batch);
    for (let i = 0; i < model.blocks[1]; i++) block(`middle_${i}`, q, qs, qh, batch);
    conv("upsample", q, grown, batch);
    for (let b = 0; b < batch; b++) join(b);
    for (let i = 0; i < model.blocks[0]; i++) block(`up_${i}`, x, s, h, batch);
    silu(x, s, batch);
    conv("conv_out", s, left, batch);
    return labels.map((_, b) => leave(b));
  }

  return { evaluate, simd };
}

/** Put one layer's weights where the convolution wants them.
 *
 * In the page: one float32 scale for each output channel, the float32 biases, then the kernel as int16 in Keras' order
 * (row, column, input, output). A weight is scale · int16. Output channels are filled up to a multiple of 8 with 0. */
function unpackLayer(f, plan, bytes) {
  const { taps, inputs, outputs, offset } = plan.layer, size = taps * taps * inputs;
  const scales = new Float32Array(bytes.buffer, offset, outputs);
  const bias = new Float32Array(bytes.buffer, offset + 4 * outputs, outputs);
  const kernel = new Int16Array(bytes.buffer, offset + 8 * outputs, size * outputs);
  for (let output = 0; output < outputs; output++) {
    const first = (plan.weights >> 2) + (output >> 3) * size * 8 + (output & 7);
    for (let i = 0; i < size; i++) f[first + i * 8] = scales[output] * kernel[i * outputs + output];
    f[(plan.bias >> 2) + output] = bias[output];
  }
}

// ---- Samplers as tables ---------------------------------------------------------------------------------------------

/** NumPy's rounding: halves go to the even neighbour. */
function roundHalfEven(value) {
  const below = Math.floor(value);
  return value - below === 0.5 ? below + (below % 2) : Math.round(value);
}

/** `count` step indices, decreasing from T − 1 in equal shares of T. */
function spacedSteps(T, count) {
  return Array.from({ length: count }, (_, i) => roundHalfEven(T - (i * T) / count) - 1);
}

/** DDIM as rows x ← a·x + b·x̂_0 + c·x̂_0' + σ·z; η = 1 is ancestral sampling (DDPM). */
function ddim(alphaBars, steps, eta = 0) {
  return steps.map((t, i) => {
    const level = alphaBars[t], next = i + 1 < steps.length ? alphaBars[steps[i + 1]] : 1;
    const sigma = eta * Math.sqrt(((1 - next) / (1 - level)) * (1 - level / next));
    const a = Math.sqrt(Math.max(0, 1 - next - sigma ** 2)) / Math.sqrt(1 - level);
    return { t, a, b: Math.sqrt(next) - a * Math.sqrt(level), c: 0, sigma };
  });
}

/** DPM-Solver++(2M): DDIM with x̂_0 extrapolated from the last two estimates; first and last step are plain DDIM. */
function dpmpp2m(alphaBars, steps) {
  const lambda = steps.map((t) => 0.5 * Math.log(alphaBars[t] / (1 - alphaBars[t])));
  return ddim(alphaBars, steps).map((row, i) => {
    if (i === 0 || i === steps.length - 1) return row;
    const extrapolation = (lambda[i + 1] - lambda[i]) / (2 * (lambda[i] - lambda[i - 1]));
    return { ...row, b: row.b * (1 + extrapolation), c: -row.b * extrapolation };
  });
}

/** Heun: after each step of DDIM a second call corrects it, but for the last one. */
function heun(alphaBars, steps) {
  const noise = (t) => Math.sqrt((1 - alphaBars[t]) / alphaBars[t]); // noise over signal
  return ddim(alphaBars, steps).flatMap((row, i) => {
    if (i === steps.length - 1) return [row];
    const next = steps[i + 1];
    const half = Math.sqrt(alphaBars[next]) * (noise(row.t) - noise(next)) / (2 * noise(next));
    return [row, { t: next, a: 1, b: half, c: -half, sigma: 0 }];
  });
}

const SAMPLERS = { ddpm: (alphaBars, steps) => ddim(alphaBars, steps, 1), ddim, dpmpp_2m: dpmpp2m, heun };

/** RePaint's resampling: each step `times` times, with the forward process back to its noise level in between. */
function resampled(table, alphaBars, times) {
  return table.flatMap((row, i) => {
    const k = alphaBars[row.t] / (i + 1 < table.length ? alphaBars[table[i + 1].t] : 1), root = Math.sqrt(k);
    const again = { ...row, a: root * row.a, b: root * row.b, sigma: Math.sqrt(k * row.sigma ** 2 + 1 - k) };
    return [...Array(times - 1).fill(again), row];
  });
}

/** The table of a run: `steps` steps that start at step `from` (T − 1 for pure noise). */
function makeTable({ alphaBars }, { sampler, steps, resample = 1, from = alphaBars.length - 1 }) {
  const table = SAMPLERS[sampler](alphaBars, spacedSteps(from + 1, Math.min(steps, from + 1)));
  return resample > 1 && !table.some((row) => row.c) ? resampled(table, alphaBars, resample) : table;
}

// ---- The loop -------------------------------------------------------------------------------------------------------

/** Numbers [p, q] with x̂_0 = p·x + q·output, by what the network predicts. */
function guessFactors(target, alphaBar) {
  const signal = Math.sqrt(alphaBar), noise = Math.sqrt(1 - alphaBar);
  return { x0: [0, 1], noise: [1 / signal, -noise / signal], v: [signal, -noise] }[target];
}

/** Run the reverse process.
 *
 * @param network of `buildNetwork`. @param model with alphaBars (Float64Array) and target.
 * @param run {table, x, label, guidance, noise(row), known, mask}: x is where to start; `noise` gives a row's z; where
 *     `mask` is 1, x̂_0 is replaced by `known`.
 * @yields {row, t, x, x0, calls} before each row, and {row, t: -1, x, x0: x} at the end.
 */
function* reverseProcess(network, model, { table, x, label, guidance, noise, known = null, mask = null }) {
  const T = model.alphaBars.length, { fround } = Math;
  const labels = guidance > 0 && label >= 0 ? [label, -1] : [label];
  let before = new Float32Array(x.length);
  for (const [row, { t, a, b, c, sigma }] of table.entries()) {
    const [told, untold] = network.evaluate(x, fround(t / T), labels);
    const [p, q] = guessFactors(model.target, model.alphaBars[t]);
    const x0 = told.map((value, i) => {
      if (mask !== null && mask[i]) return known[i];
      return p * x[i] + q * (untold ? (1 + guidance) * value - guidance * untold[i] : value);
    });
    yield { row, t, x, x0, calls: labels.length };
    const z = sigma > 0 ? noise(row) : null;
    const last = before;
    x = x.map((value, i) => a * value + b * x0[i] + c * last[i] + (z ? sigma * z[i] : 0));
    before = x0;
  }
  yield { row: table.length, t: -1, x, x0: x, calls: 0 };
}

/** `count` standard normal numbers that follow from a seed and a stream: mulberry32, then Box–Muller.
 *
 * Stream 0 is the start of a run; stream 1 + row is the noise of a row. */
function normals(seed, stream, count) {
  let state = (Math.imul(seed ^ 0x9e3779b9, 0x85ebca6b) ^ Math.imul(stream + 1, 0xc2b2ae35)) >>> 0;
  const uniform = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let z = Math.imul(state ^ (state >>> 15), state | 1);
    z ^= z + Math.imul(z ^ (z >>> 7), z | 61);
    return (((z ^ (z >>> 14)) >>> 0) + 0.5) / 4294967296; // never 0
  };
  const values = new Float32Array(count);
  for (let i = 0; i < count; i += 2) {
    const radius = Math.sqrt(-2 * Math.log(uniform())), angle = 2 * Math.PI * uniform();
    values[i] = radius * Math.cos(angle);
    if (i + 1 < count) values[i + 1] = radius * Math.sin(angle);
  }
  return values;
}

// ---- From the page, and as a worker ---------------------------------------------------------------------------------

function bytesOf(base64) {
  const text = atob(base64), bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

/** The model's record, as `python -m labutils play` wrote it, with its schedule as numbers. */
function readModel(text) {
  const model = JSON.parse(text);
  return { ...model, alphaBars: new Float64Array(bytesOf(model.alpha_bars).buffer) };
}

/** Where a run starts: noise; or √ᾱ·picture + √(1−ᾱ)·noise at step `from` (SDEdit). */
function startOf(model, { seed, from, picture }) {
  const noise = normals(seed, 0, model.side ** 2);
  if (!picture) return noise;
  const alphaBar = model.alphaBars[from];
  return noise.map((z, i) => Math.sqrt(alphaBar) * picture[i] + Math.sqrt(1 - alphaBar) * z);
}

/** Answers messages of the page. A newer message ends the run of an older one.
 *
 * @param post function that sends a message back. @returns function to call with each message's data: first
 *     {model, weights}, texts; then runs, {id, sampler, steps, resample, from, seed, label, guidance, picture, known,
 *     mask}. Answers: {ready, simd}; frames {id, row, rows, t, x, x0}; {id, done, calls, seconds}; {error}.
 */
function serve(post) {
  const KEPT = 500; // frames of a run, at most
  let model, network, newest = 0;
  const pause = () => new Promise((resolve) => setTimeout(resolve));
  async function draw(run) {
    const rows = makeTable(model, run), every = Math.ceil(rows.length / KEPT);
    const noise = (row) => normals(run.seed, row + 1, model.side ** 2);
    const started = performance.now();
    let looked = started, calls = 0;
    const process = reverseProcess(network, model, { ...run, table: rows, x: startOf(model, run), noise });
    for (const frame of process) {
      calls += frame.calls;
      if (frame.row % every === 0 || frame.t < 0) post({ id: run.id, rows: rows.length, ...frame });
      if (performance.now() - looked > 30) { // let a newer message in
        await pause();
        if (newest !== run.id) return;
        looked = performance.now();
      }
    }
    post({ id: run.id, done: true, calls, seconds: (performance.now() - started) / 1000 });
  }
  return (message) => {
    try {
      if (message.model) {
        model = readModel(message.model);
        network = buildNetwork(model, bytesOf(message.weights), message.plain ? null : bytesOf(model.kernel));
        post({ ready: true, simd: network.simd });
      } else {
        newest = message.id;
        if (!message.stop) draw(message).catch((error) => post({ error: String(error) }));
      }
    } catch (error) {
      post({ error: String(error) });
    }
  };
}
