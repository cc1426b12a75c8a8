// Draws the race and passes the visitor's moves to the worker.
const element = (id) => document.getElementById(id);
const COLOURS = { you: "#c2410c", TWAP: "#475569", optimum: "#15803d" };
const SHADES = { BULL_TRENDING: "#dcfce7", BEAR_TRENDING: "#ffe4e6", SIDEWAYS_LOW: "#f1f5f9", SIDEWAYS_HIGH: "#fef3c7", CRISIS: "#fca5a5", RECOVERY: "#e0e7ff" };
const worker = new Worker("worker.js");
const waiting = new Map();
let calls = 0, state, day = 0;

worker.onmessage = ({ data }) => {
  if (data.said) return void (element("status").textContent = data.said);
  const { accept, refuse } = waiting.get(data.id);
  waiting.delete(data.id);
  data.error ? refuse(new Error(data.error)) : accept(data.state);
};

function call(method, values = {}) {
  return new Promise((accept, refuse) => {
    waiting.set(++calls, { accept, refuse });
    worker.postMessage({ id: calls, method, values });
  });
}

function panel(left, title, key, top) {
  const [width, height, base] = [420, 260, 300];
  const x = (k) => left + (width * k) / state.slices, y = (value) => base - (height * value) / top;
  let svg = `<text x="${left}" y="24">${title}</text>`;
  state.regimes.forEach((name, k) => {
    svg += `<rect x="${x(k)}" y="${base - height}" width="${width / state.slices + 0.5}" height="${height}" fill="${SHADES[name] ?? "#eee"}"><title>${name}</title></rect>`;
  });
  for (const share of [0, 0.5, 1]) svg += `<text x="${left - 6}" y="${y(share * top) + 4}" text-anchor="end">${+(share * top).toFixed(2)}</text>`;
  svg += `<path d="M${left} ${base - height}V${base}H${left + width}" fill="none" stroke="#888"/><text x="${left + width}" y="${base + 18}" text-anchor="end">slice ${state.slice} of ${state.slices}</text>`;
  for (const [name, order] of Object.entries(state.orders)) {
    const points = order[key].map((value, k) => `${x(k)},${y(value)}`).join(" ");
    svg += `<polyline points="${points}" fill="none" stroke="${COLOURS[name]}" stroke-width="2.5"/>`;
  }
  return svg;
}

function draw() {
  const worst = Math.max(5, ...Object.values(state.orders).map((order) => order.cost_bps.at(-1)));
  element("chart").innerHTML = panel(50, "remaining fraction of the order", "remaining", 1) + panel(530, "cost so far, bps", "cost_bps", Math.ceil(worst / 5) * 5);
  element("rows").innerHTML = Object.entries(state.orders)
    .map(([name, order]) => `<tr style="color:${COLOURS[name]}"><td>${name}<td>${(100 * order.remaining.at(-1)).toFixed(1)} %<td>${order.cost_bps.at(-1).toFixed(4)}`)
    .join("");
  element("legend").innerHTML = [...new Set(state.regimes)].map((name) => `<span style="background:${SHADES[name] ?? "#eee"}">${name}</span>`).join("");
  const over = state.slice === state.slices;
  for (const id of ["step", "finish"]) element(id).disabled = over;
  element("status").textContent = over
    ? `${state.orders.optimum ? "" : "solving for the optimum; "}the day is over`
    : `slice ${state.slice + 1}: ${state.regimes.at(-1)}${state.orders.optimum ? "" : "; solving for the optimum"}`;
}

async function attempt(moves) {
  try {
    await moves();
  } catch (error) {
    element("status").textContent = error.message;
  }
}

const pace = () => Number(element("pace").value);
const show = async (promise) => { state = await promise; draw(); };

const begin = () => attempt(async () => {
  const mine = ++day;
  await show(call("begin", { seed: Math.max(0, Math.trunc(Number(element("seed").value))) }));
  element("begin").disabled = false;
  setTimeout(() => attempt(async () => { if (mine === day) await show(call("add_optimum")); }), 50);
});
const finish = () => attempt(async () => { while (state.slice < state.slices) await show(call("step", { pace: pace() })); });

element("pace").oninput = () => (element("value").textContent = pace().toFixed(2));
element("step").onclick = () => attempt(() => show(call("step", { pace: pace() })));
element("finish").onclick = finish;
element("begin").onclick = begin;
begin();
