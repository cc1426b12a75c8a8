// Runs Python beside the page: loads Pyodide and the wheels, then answers calls of methods of `race.Race`.
let python, settings, race;

async function load() {
  settings = await (await fetch("settings.json")).json();
  const distribution = new URL(settings.pyodide, self.location).href;
  importScripts(distribution + "pyodide.js");
  say(`loading Python from ${settings.pyodide}`);
  python = await loadPyodide({ indexURL: distribution });
  const failed = [];
  await python.loadPackage(settings.packages, { errorCallback: (text) => failed.push(text) });
  if (failed.length) throw new Error(`${settings.pyodide} lacks a package: ${failed.join(" ")}`);
  for (const wheel of settings.wheels) python.unpackArchive(await (await fetch(`wheels/${wheel}`)).arrayBuffer(), "wheel");
  python.FS.writeFile("/home/pyodide/race.py", await (await fetch("race.py")).text());
  say("importing hyperexec_env");
  python.runPython("import json, race");
}

const say = (text) => postMessage({ said: text });

function answer(method, values) {
  python.globals.set("values", JSON.stringify(values));
  if (method === "begin") python.runPython("today = race.Race(**json.loads(values))");
  else if (method !== "state") return JSON.parse(python.runPython(`json.dumps(today.${method}(**json.loads(values)))`));
  return JSON.parse(python.runPython("json.dumps(today.state())"));
}

const ready = load();
onmessage = async ({ data: { id, method, values } }) => {
  try {
    await ready;
    postMessage({ id, state: answer(method, values) });
  } catch (error) {
    postMessage({ id, error: String(error.message ?? error).trim().split("\n").at(-1) }); // the last line of a traceback
  }
};
