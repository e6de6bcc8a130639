"use strict";
/* The page: controls, the player, the picture to paint on. The engine does the work, in a worker. */
{
  const find = (id) => document.getElementById(id);
  const model = readModel(find("model").textContent), { side } = model, PIXELS = side * side;
  const T = model.alphaBars.length;
  const STEPS = [1, 2, 3, 4, 6, 8, 10, 12, 16, 20, 25, 32, 50, 75, 100, 150, 250, 500, 1000];
  const FILMS = 13, PLAY_SECONDS = 4;
  const TASKS = {
    noise: "The model draws a digit from pure noise.",
    repair: "Hide a part of a picture. The model keeps what you can see and fills the hole.",
    scribble: "Draw. Your picture gets noise up to a level that you choose, and the model takes it from there (SDEdit).",
  };
  const TOOLS = { hide: "Hide", show: "Show", draw: "Draw", erase: "Erase" };
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;

  // ---- What is chosen -----------------------------------------------------------------------------------------------

  const chosen = (name) => document.querySelector(`input[name="${name}"]:checked`)?.value;
  const number = (id) => Number(find(id).value);

  function radios(box, name, choices, checked) {
    const grid = document.createElement("div");
    for (const [value, text] of choices) {
      const label = document.createElement("label"), input = document.createElement("input");
      const face = document.createElement("span");
      Object.assign(input, { type: "radio", name, value, checked: value === checked });
      face.textContent = text;
      label.append(input, face);
      grid.append(label);
    }
    find(box).append(...(box === "digits" ? [grid] : grid.childNodes));
  }
  radios("digits", "digit", [...Array(model.classes).keys()].map((d) => [String(d), d]).concat([["-1", "any"]]), "3");
  radios("tools", "tool", Object.entries(TOOLS), "hide");
  find("steps").max = STEPS.length - 1;
  find("steps").value = STEPS.indexOf(12);

  function settings() {
    const task = chosen("task"), label = Number(chosen("digit"));
    return {
      task, label,
      sampler: find("sampler").value,
      steps: STEPS[number("steps")],
      guidance: label < 0 ? 0 : number("guidance"),
      seed: Math.floor(Math.min(Math.max(number("seed") || 0, 0), 2 ** 32 - 1)),
      resample: task === "repair" ? number("resample") : 1,
      from: task === "scribble" ? number("level") : T - 1,
    };
  }

  /** Say beside each control what it means now. */
  function describe() {
    const { task, label, sampler, steps, guidance, resample, from } = settings();
    const single = sampler === "ddpm" || sampler === "ddim";
    const say = (id, text) => {
      find(`${id}-value`).textContent = text;
      find(id).setAttribute("aria-valuetext", text);
    };
    find("task-text").textContent = TASKS[task];
    find("editor").hidden = task === "noise";
    for (const input of find("tools").querySelectorAll("input")) {
      input.parentElement.hidden = task !== "repair" && (input.value === "hide" || input.value === "show");
    }
    find("half").hidden = find("resample-row").hidden = task !== "repair";
    find("level-row").hidden = task !== "scribble";
    find("guidance").disabled = label < 0;
    find("resample").disabled = !single;
    say("guidance", label < 0 ? "not used" : guidance.toFixed(2));
    find("guidance-text").textContent = label < 0
      ? "The network is told no digit, so there is nothing to follow."
      : guidance === 0
        ? "The network follows the digit as it learned to: one call a step."
        : `(1 + ${guidance}) · f(x, digit) − ${guidance} · f(x, no digit): two calls a step.`;
    say("steps", String(steps));
    find("sampler-text").textContent = sampler === "heun" && steps < 50
      ? "With few steps Heun's first corrections, made where hardly any image is left, go far astray here."
      : sampler === "dpmpp_2m" ? "The newest guess is extrapolated from the last two." : "";
    say("brush", `${number("brush")} pixels`);
    say("resample", single ? `${resample}` : "only ddpm and ddim");
    say("level", `t = ${from}: ${Math.round(100 * Math.sqrt(model.alphaBars[from]))} % image`);
  }

  // ---- Drawing a run ------------------------------------------------------------------------------------------------

  let frames = [], current = 0, following = true, run = null, id = 0, timer = 0, playing = 0;

  const worker = startWorker();
  function startWorker() {
    try {
      const text = `${find("engine").textContent}\nconst answer = serve(postMessage);\nonmessage = (e) => answer(e.data);`;
      const worker = new Worker(URL.createObjectURL(new Blob([text], { type: "text/javascript" })));
      worker.onmessage = (event) => heard(event.data);
      worker.onerror = (event) => { find("status").textContent = `The engine stopped: ${event.message}`; };
      return worker;
    } catch { // no workers here: run in the page itself
      const answer = serve((message) => setTimeout(heard, 0, message));
      return { postMessage: answer };
    }
  }
  worker.postMessage({ model: find("model").textContent, weights: find("weights").textContent });

  /** Draw soon: after the last of a quick series of changes. */
  function drawSoon() {
    describe();
    document.body.dataset.state = "drawing";
    clearTimeout(timer);
    timer = setTimeout(draw, 80);
  }

  function draw() {
    const now = settings();
    const known = now.task === "repair" ? Float32Array.from(picture) : null;
    const mask = known && Float32Array.from(hidden, (h) => 1 - h);
    if (known && mask.every((m) => m)) return tell("Nothing is hidden. Hide a part of the picture first.");
    if (now.task === "scribble" && picture.every((v) => v <= -1)) return tell("The picture is empty. Draw something first.");
    pause();
    id += 1;
    run = { ...now, id, started: performance.now() };
    frames = [];
    following = true;
    worker.postMessage({ ...run, known, mask, picture: now.task === "scribble" ? Float32Array.from(picture) : null });
  }

  function tell(text) {
    worker.postMessage({ id: ++id, stop: true });
    ended();
    find("status").textContent = text;
  }

  function heard(message) {
    if (message.error) tell(`Something went wrong: ${message.error}`);
    else if (message.ready) ready(message);
    else if (message.id !== id) return; // of a run that a newer one has replaced
    else if (message.done) finished(message);
    else {
      frames.push(message);
      const share = message.row / message.rows;
      if (performance.now() - run.started > 400 && share < 1) {
        find("progress").hidden = find("stop").hidden = false;
        find("progress").value = share;
      }
      if (following) showSoon(frames.length - 1);
    }
  }

  function ready({ simd }) {
    find("name").textContent = model.checkpoint;
    find("facts").textContent = `Checkpoint ${model.checkpoint}, ${model.parameters.toLocaleString("en")} parameters, SHA-256 of its `
      + `weights ${model.weights_sha256}. Engine: typed arrays with `
      + (simd ? "a WebAssembly SIMD kernel." : "plain JavaScript, because this browser has no WebAssembly SIMD.");
    drawSoon();
  }

  function finished({ calls, seconds }) {
    const told = run.label < 0 ? "The network was told no digit" : `The network was told ${run.label}`;
    const from = { noise: "from noise", repair: "filled the hole", scribble: "from your scribble" }[run.task];
    find("status").textContent = `Finished, ${from}. ${told}. ${calls} calls of the network in ${seconds.toFixed(2)} seconds.`;
    buildStrip();
    show(following ? frames.length - 1 : current);
    ended();
  }

  function ended() {
    find("progress").hidden = find("stop").hidden = true;
    document.body.dataset.state = "idle";
  }

  // ---- Looking at a run ---------------------------------------------------------------------------------------------

  let wanted = -1;
  function showSoon(index) { // at most once for each picture that the screen shows
    if (wanted < 0) requestAnimationFrame(() => { const at = Math.min(wanted, frames.length - 1); wanted = -1; show(at); });
    wanted = index;
  }

  function paint(canvas, values, scale = 1) {
    const context = canvas.getContext("2d"), image = context.createImageData(side, side);
    for (let i = 0; i < PIXELS; i++) {
      const grey = 127.5 * (1 + values[i] / scale); // clamped by the array
      image.data.set([grey, grey, grey, 255], 4 * i);
    }
    context.putImageData(image, 0, 0);
  }

  const levelOf = (t) => (t < 0 ? 1 : model.alphaBars[t]);

  function show(index) {
    if (!frames.length) return;
    current = Math.min(Math.max(index, 0), frames.length - 1);
    const { row, rows, t, x, x0 } = frames[current];
    const signal = Math.sqrt(levelOf(t)), noise = Math.sqrt(1 - levelOf(t));
    const eps = x.map((value, i) => (t < 0 ? 0 : (value - signal * x0[i]) / noise));
    paint(find("xt"), x);
    paint(find("x0"), x0);
    paint(find("eps"), eps, 2.5);
    find("xt-name").replaceChildren("x", subscript(t < 0 ? "0" : "t"));
    find("signal").textContent = signal.toFixed(2);
    find("noise").textContent = noise.toFixed(2);
    const done = t < 0, share = `${Math.round(100 * signal)} % image, ${Math.round(100 * noise)} % noise`;
    find("xt-text").textContent = done ? "the finished image" : "what the network sees";
    find("eps-text").textContent = done ? "no noise is left" : "the noise that is left";
    find("where").textContent = done ? `Finished: ${rows} updates` : `Update ${row + 1} of ${rows},\nt = ${t},\nᾱ = ${levelOf(t).toPrecision(3)}`;
    find("xt").setAttribute("aria-label", done ? "The finished image x 0" : `x t: the noisy image at t = ${t}, ${share}`);
    find("x0").setAttribute("aria-label", `x hat 0: the network's guess of the clean image${done ? "" : ` at t = ${t}`}`);
    find("eps").setAttribute("aria-label", done ? "No noise is left" : `Epsilon: the noise that this guess implies, at t = ${t}`);
    const scrubber = find("scrubber");
    scrubber.max = frames.length - 1;
    scrubber.value = current;
    scrubber.setAttribute("aria-valuetext", done ? "finished image" : `update ${row + 1} of ${rows}, t = ${t}`);
    find("first").disabled = find("back").disabled = current === 0;
    find("last").disabled = find("next").disabled = current === frames.length - 1;
    for (const film of find("strip").children) film.className = film === filmOf(current) ? "now" : "";
    drawCurve(t);
  }

  function subscript(text) {
    const sub = document.createElement("sub");
    sub.textContent = text;
    return sub;
  }

  const filmOf = (index) => [...find("strip").children].findLast((film) => Number(film.dataset.frame) <= index);

  function buildStrip() { // above x_t, below x̂_0
    const count = Math.min(FILMS, frames.length);
    const picked = Array.from({ length: count }, (_, i) => Math.round((i * (frames.length - 1)) / Math.max(count - 1, 1)));
    find("strip").replaceChildren(...picked.map((index) => {
      const film = document.createElement("div");
      film.dataset.frame = index;
      film.title = frames[index].t < 0 ? "finished" : `t = ${frames[index].t}`;
      for (const values of [frames[index].x, frames[index].x0]) {
        const canvas = document.createElement("canvas");
        canvas.width = canvas.height = side;
        paint(canvas, values);
        film.append(canvas);
      }
      film.addEventListener("click", () => look(index));
      return film;
    }));
  }

  // The schedule, from noise on the left to the image on the right, as the reverse process goes through it.
  const FOOT = 22, HEAD = 6;
  const across = (t, width) => ((T - 1 - t) / T) * width;
  const down = (share) => HEAD + (1 - share) * (150 - HEAD - FOOT);

  function drawCurve(t) {
    const svg = find("curve"), width = svg.clientWidth || 600;
    const line = (share) => Array.from({ length: 101 }, (_, i) => {
      const at = i === 100 ? -1 : T - 1 - Math.round((i / 100) * (T - 1));
      return `${i ? "L" : "M"}${across(at, width).toFixed(1)} ${down(share(levelOf(at))).toFixed(1)}`;
    }).join("");
    const shape = (name, attributes, text) => {
      const element = document.createElementNS("http://www.w3.org/2000/svg", name);
      for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
      if (text) element.textContent = text;
      return element;
    };
    const signal = (level) => Math.sqrt(level), noise = (level) => Math.sqrt(1 - level);
    const x = across(t, width), level = levelOf(t), bottom = down(0);
    const calls = frames.length <= 120 ? frames.filter((frame) => frame.t >= 0) : [];
    svg.replaceChildren(
      shape("line", { class: "axis", x1: 0, x2: width, y1: bottom, y2: bottom }),
      ...calls.map(({ t }) => shape("line", { class: "call", x1: across(t, width), x2: across(t, width), y1: bottom - 5, y2: bottom + 3 })),
      shape("path", { class: "signal", d: line(signal) }),
      shape("path", { class: "noise", d: line(noise) }),
      shape("line", { class: "cursor", x1: x, x2: x, y1: HEAD, y2: bottom }),
      shape("circle", { class: "signal", cx: x, cy: down(signal(level)), r: 6 }),
      shape("circle", { class: "noise", cx: x, cy: down(noise(level)), r: 6 }),
      shape("text", { x: 0, y: 146 }, `t = ${T - 1}, noise`),
      shape("text", { x: width, y: 146, "text-anchor": "end" }, "image, t = 0"),
    );
    svg.setAttribute("aria-label", `The noise schedule, from noise to image. Now ${Math.round(100 * signal(level))} % image and `
      + `${Math.round(100 * noise(level))} % noise.`);
  }
  new ResizeObserver(() => drawCurve(frames[current]?.t ?? T - 1)).observe(find("curve"));

  function nearest(event) { // the frame whose t is nearest to the pointer
    const box = find("curve").getBoundingClientRect();
    const t = T - 1 - ((event.clientX - box.left) / box.width) * T;
    const far = (frame) => Math.abs(frame.t - t);
    return frames.reduce((best, frame, i) => (far(frame) < far(frames[best]) ? i : best), 0);
  }
  find("curve").addEventListener("pointerdown", (event) => { if (frames.length) look(nearest(event)); });
  find("curve").addEventListener("pointermove", (event) => { if (event.buttons && frames.length) look(nearest(event)); });

  // ---- The player ---------------------------------------------------------------------------------------------------

  function look(index) {
    pause();
    following = false;
    show(index);
  }

  function pause() {
    clearInterval(playing);
    playing = 0;
    find("play").textContent = "Play";
  }

  function play() {
    if (playing) return pause();
    if (frames.length < 2) return undefined;
    if (current === frames.length - 1) look(0);
    following = false;
    find("play").textContent = "Pause";
    const every = Math.min(Math.max((1000 * PLAY_SECONDS) / frames.length, 40), 500);
    const stride = Math.max(1, Math.round((every * frames.length) / (1000 * PLAY_SECONDS)));
    playing = setInterval(() => {
      show(current + stride);
      if (current === frames.length - 1) pause();
    }, still ? 500 : every);
    return undefined;
  }

  find("play").addEventListener("click", play);
  find("first").addEventListener("click", () => look(0));
  find("back").addEventListener("click", () => look(current - 1));
  find("next").addEventListener("click", () => look(current + 1));
  find("last").addEventListener("click", () => look(frames.length - 1));
  find("scrubber").addEventListener("input", () => look(number("scrubber")));
  find("stop").addEventListener("click", () => { tell("Stopped."); buildStrip(); show(current); });
  document.addEventListener("keydown", (event) => { // outside of the controls the keys belong to the player
    if (event.target !== document.body || event.ctrlKey || event.altKey || event.metaKey) return;
    const moves = { ArrowLeft: () => look(current - 1), ArrowRight: () => look(current + 1), " ": play };
    if (moves[event.key]) { event.preventDefault(); moves[event.key](); }
  });

  // ---- The picture to paint on --------------------------------------------------------------------------------------

  const CELL = 10, INK = 1, EMPTY = -1;
  const paper = find("paper"), cursor = { x: 14, y: 14 };
  let picture = new Float32Array(PIXELS).fill(EMPTY), hidden = new Uint8Array(PIXELS), undos = [], pen = null;

  function drawPaper() {
    const context = paper.getContext("2d"), style = getComputedStyle(document.documentElement);
    for (let i = 0; i < PIXELS; i++) {
      const x = (i % side) * CELL, y = Math.floor(i / side) * CELL, grey = Math.round(127.5 * (1 + picture[i]));
      context.fillStyle = `rgb(${grey} ${grey} ${grey})`;
      context.fillRect(x, y, CELL, CELL);
      if (hidden[i] && chosen("task") === "repair") {
        context.fillStyle = "#7f8ddd";
        context.fillRect(x, y, CELL, CELL);
        context.fillStyle = "#5262c4";
        for (let k = 0; k < CELL; k++) context.fillRect(x + k, y + CELL - 1 - k, 2, 1); // hatched
      }
    }
    if (document.activeElement === paper) {
      context.strokeStyle = style.getPropertyValue("--noise");
      context.lineWidth = 3;
      context.strokeRect(cursor.x * CELL + 1.5, cursor.y * CELL + 1.5, CELL - 3, CELL - 3);
    }
  }

  function remember() {
    undos = [...undos.slice(-49), { picture: picture.slice(), hidden: hidden.slice() }];
  }

  /** One touch of the brush at a place in pixels, from 0 to `side`. Ink has soft edges, as in MNIST. */
  function dab(cx, cy) {
    const tool = chosen("tool"), radius = number("brush") / 2;
    for (let i = 0; i < PIXELS; i++) {
      const distance = Math.hypot((i % side) + 0.5 - cx, Math.floor(i / side) + 0.5 - cy);
      const cover = Math.min(Math.max(radius + 0.5 - distance, 0), 1);
      if (tool === "draw") picture[i] = Math.max(picture[i], EMPTY + (INK - EMPTY) * cover);
      if (tool === "erase") picture[i] = Math.min(picture[i], INK + (EMPTY - INK) * cover);
      if (tool === "draw" && cover > 0.5) hidden[i] = 0; // what is drawn over a hole is known
      if (distance <= radius + 0.3 && tool === "hide") hidden[i] = 1;
      if (distance <= radius + 0.3 && tool === "show") hidden[i] = 0;
    }
  }

  function stroke(from, to) {
    const steps = Math.max(1, Math.ceil(2 * Math.hypot(to.x - from.x, to.y - from.y)));
    for (let i = 0; i <= steps; i++) dab(from.x + ((to.x - from.x) * i) / steps, from.y + ((to.y - from.y) * i) / steps);
    drawPaper();
  }

  const place = (event) => {
    const box = paper.getBoundingClientRect();
    return { x: ((event.clientX - box.left) / box.width) * side, y: ((event.clientY - box.top) / box.height) * side };
  };
  paper.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    paper.setPointerCapture(event.pointerId);
    remember();
    pen = place(event);
    stroke(pen, pen);
  });
  paper.addEventListener("pointermove", (event) => {
    if (!pen) return;
    for (const part of event.getCoalescedEvents?.() ?? [event]) {
      const to = place(part);
      stroke(pen, to);
      pen = to;
    }
  });
  for (const name of ["pointerup", "pointercancel"]) {
    paper.addEventListener(name, () => { if (pen) { pen = null; drawSoon(); } });
  }
  for (const name of ["focus", "blur"]) paper.addEventListener(name, drawPaper);

  paper.addEventListener("keydown", (event) => {
    const move = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    const paints = event.key === " " || event.key === "Enter";
    if (!move && !paints) return;
    event.preventDefault();
    const from = { x: cursor.x + 0.5, y: cursor.y + 0.5 };
    if (move) {
      cursor.x = Math.min(Math.max(cursor.x + move[0], 0), side - 1);
      cursor.y = Math.min(Math.max(cursor.y + move[1], 0), side - 1);
    }
    if (paints || event.shiftKey) {
      remember();
      stroke(from, { x: cursor.x + 0.5, y: cursor.y + 0.5 });
      drawSoon();
    }
    drawPaper();
    const i = cursor.y * side + cursor.x;
    const what = hidden[i] && chosen("task") === "repair" ? "hidden" : picture[i] > 0 ? "ink" : "empty";
    find("cursor").textContent = `Row ${cursor.y + 1}, column ${cursor.x + 1}, ${what}`;
  });

  function edit(change) {
    remember();
    change();
    drawPaper();
    drawSoon();
  }
  const hideLowerHalf = () => { hidden = hidden.map((_, i) => (i >= PIXELS / 2 ? 1 : 0)); };
  const takeFinished = () => {
    const last = frames.at(-1);
    if (last?.t < 0) picture = last.x.map((v) => Math.min(Math.max(v, EMPTY), INK));
    hidden.fill(0);
  };
  find("clear").addEventListener("click", () => edit(() => { picture.fill(EMPTY); hidden.fill(0); }));
  find("half").addEventListener("click", () => edit(hideLowerHalf));
  find("take").addEventListener("click", () => edit(takeFinished));
  find("undo").addEventListener("click", () => {
    if (!undos.length) return;
    ({ picture, hidden } = undos.pop());
    drawPaper();
    drawSoon();
  });

  /** Each task begins with a picture that shows what it is for. */
  const begun = {};
  function begin() {
    const task = chosen("task"), first = !begun[task];
    begun[task] = true;
    find("tools").querySelector(`[value="${task === "repair" ? "hide" : "draw"}"]`).checked = true;
    if (first && task === "repair") {
      takeFinished();
      hideLowerHalf();
      find("brush").value = 4;
    } else if (first && task === "scribble") {
      remember();
      picture.fill(EMPTY);
      find("brush").value = 2;
      find("digits").querySelector('[value="4"]').checked = true;
      for (const [ax, ay, bx, by] of [[10, 6, 8, 15], [8, 15, 20, 15], [17, 8, 17, 23]]) {
        stroke({ x: ax, y: ay }, { x: bx, y: by }); // a crude 4
      }
    }
    describe();
    drawPaper();
    drawSoon();
  }

  // ---- All controls -------------------------------------------------------------------------------------------------

  for (const input of document.querySelectorAll('input[name="task"]')) input.addEventListener("change", begin);
  for (const input of document.querySelectorAll('input[name="digit"]')) input.addEventListener("change", drawSoon);
  for (const name of ["guidance", "steps", "sampler", "seed", "level", "resample"]) find(name).addEventListener("input", drawSoon);
  find("brush").addEventListener("input", describe);
  find("again").addEventListener("click", () => {
    find("seed").value = crypto.getRandomValues(new Uint16Array(1))[0];
    drawSoon();
  });
  for (const form of ["choose", "settings"]) find(form).addEventListener("submit", (event) => event.preventDefault());
  describe();
}
