// The page: what is set, what is shown, and what is asked of the service.

import { ask, json, post, run, upload } from "/page/api.js";
import { compare, drag, keys } from "/page/compare.js";
import { dome } from "/page/dome.js";
import { maps } from "/page/maps.js";
import { paint } from "/page/paint.js";

const $ = (id) => document.getElementById(id);
const state = {
  photo: null, stage: null, light: null, working: null, spot: [0.5, 0.75], changes: [], mask: null, about: null,
  rig: { base: "sunset", yaw: 0, strength: 0, lamps: [] },
};

// ---- telling

function tell(line, wrong = false) {
  $("status").textContent = line;
  $("status").classList.toggle("wrong", wrong);
}

// Runs one thing at a time that takes a while, with a bar that says how far it is; what goes wrong is said in one line.
async function busy(says, work) {
  if (state.working) return tell("One thing at a time: cancel what is being made, or wait for it.", true);
  state.working = new AbortController();
  $("working").hidden = $("work").hidden;
  tell(says);
  const report = (job) => {
    $("progress").value = job.progress;
    $("doing").textContent = job.message || job.state;
    tell(job.state === "queued" ? "Waiting for its turn" : `${says}: ${job.message}`);
  };
  try {
    await work(report, state.working.signal);
  } catch (error) {
    tell(error.message, true);
  } finally {
    state.working = null;
    $("working").hidden = true;
  }
}
$("cancel").addEventListener("click", () => state.working?.abort());

// ---- what is shown

const setDivider = compare($("frame"), $("divider"));
const look = (fine) => ({
  rig: state.rig, fine, exposure: $("auto").checked ? "auto" : Number($("exposure").value), background: $("background").value,
});

// The newest picture wins: while one is drawn, only the last wish is kept. When the hand rests, it is drawn with shadows.
const picture = { wish: null, drawing: false, rest: 0, wished: 0, slow: null };
async function draw(fine = false) {
  clearTimeout(picture.rest);
  if (!fine) picture.rest = setTimeout(() => draw(true), 600);
  picture.slow?.abort();  // with shadows it takes seconds, which no hand waits for
  picture.wish = { fine, number: ++picture.wished };
  document.body.dataset.wished = picture.wished;
  if (picture.drawing || !state.stage) return;
  picture.drawing = true;
  while (picture.wish) {
    const wish = picture.wish;
    picture.wish = null;
    try {
      picture.slow = wish.fine ? new AbortController() : null;
      const answer = await post(`/studio/stages/${state.stage.id}/picture`, look(wish.fine), picture.slow?.signal);
      await replacePicture(await answer.blob());
      Object.assign(document.body.dataset, { shown: wish.number, fine: wish.fine });
    } catch (error) {
      if (error.name !== "AbortError") tell(error.message, true);
    }
  }
  picture.drawing = false;
}

async function replacePicture(blob) {
  const address = URL.createObjectURL(blob);
  const old = $("after").src;
  $("after").src = address;
  await $("after").decode().catch(() => {});
  if (old.startsWith("blob:")) URL.revokeObjectURL(old);
}

function changed(still) {
  if (shown.current !== "relit") shown.select("relit");
  draw(still === "fine");
  if (still) command();
}

const shown = maps($("maps"), $("frame"), $("value"), (name) => {
  const relit = name === "relit";
  $("divider").hidden = $("before").hidden = $("tag-before").hidden = $("tag-after").hidden = !relit;
  if (relit) draw();
  else $("after").src = `/studio/stages/${state.stage.id}/maps/${name}.png`;
});

async function command(inserted = null) {
  const screen = {
    photo: state.photo?.name ?? "photo.jpg", light: state.light?.name ?? "", model: $("model").value || "mini",
    look: look(false), changes: state.changes, masked: state.mask !== null, inserted,
  };
  try { $("command").textContent = (await (await post("/studio/command", screen)).json()).line; } catch { /* the line stays */ }
}
$("copy").addEventListener("click", async () => {
  try { await navigator.clipboard.writeText($("command").textContent); tell("Copied."); } catch { getSelection().selectAllChildren($("command")); }
});

// ---- opening a photo

async function open(file, name) {
  await busy("Opening the photo", async (report, signal) => {
    $("welcome").querySelectorAll("button").forEach((one) => { one.disabled = true; });
    try {
      state.photo = await upload(file, name);
      await apart(report, signal);
    } finally {
      $("welcome").querySelectorAll("button").forEach((one) => { one.disabled = false; });
    }
  });
}

async function apart(report, signal) {
  const job = await run("/studio/stages", { input: state.photo.id, model: $("model").value || "mini" }, report, signal);
  state.stage = await (await post("/studio/stages/open", { job: job.id })).json();
  const { id, width, height } = state.stage;
  $("frame").style.setProperty("--shape", width / height);
  $("before").src = `/studio/stages/${id}/photo.jpg`;
  painted.open(width, height);
  Object.assign(state, { changes: [], mask: null });
  $("welcome").hidden = true;
  $("work").hidden = $("again").hidden = false;
  shown.open(state.stage);
  ownSky();
  command();
  tell(job.message || `${state.photo.name}, taken apart. Drag the sky.`);
}

$("choose").addEventListener("click", () => $("file").click());
$("file").addEventListener("change", () => { if ($("file").files[0]) open($("file").files[0]); $("file").value = ""; });
$("sample").addEventListener("click", async () => open(await (await ask("/page/sample.jpg")).blob(), "coffee.jpg"));
$("again").addEventListener("click", () => {
  Object.assign(state, { stage: null, photo: null });
  $("work").hidden = $("maps").hidden = $("again").hidden = true;
  $("welcome").hidden = false;
  $("choose").focus();
  tell("");
});
for (const kind of ["dragover", "drop"]) document.addEventListener(kind, (event) => event.preventDefault());
droppable($("viewer"), $("drop"), (file) => open(file));
droppable($("dome"), $("dome"), openSky);

function droppable(area, marked, take) {
  area.addEventListener("dragover", () => marked.classList.add("over"));
  area.addEventListener("dragleave", () => marked.classList.remove("over"));
  area.addEventListener("drop", (event) => {
    marked.classList.remove("over");
    event.stopPropagation();
    event.preventDefault();
    if (event.dataTransfer.files[0]) take(event.dataTransfer.files[0]);
  });
}

// ---- light

const sky = dome($("dome"), state.rig, changed);
$("add-lamp").addEventListener("click", () => sky.add());

function chooseSky(base) {
  state.rig.base = base;
  for (const button of $("skies").children) {
    button.setAttribute("aria-checked", button.dataset.base === base);
    button.tabIndex = button.dataset.base === base ? 0 : -1;
  }
  sky.picture(base === "none" ? "" : skyPicture(base));
  changed(true);
}
const skyPicture = (base) => `/studio/lights/${base}.jpg${base === "own" ? `?stage=${state.stage.id}` : ""}`;

function skyButton(base, says, picture = skyPicture(base)) {
  const button = document.createElement("button");
  button.dataset.base = base;
  button.setAttribute("role", "radio");
  button.setAttribute("aria-checked", false);
  button.title = says;
  const image = document.createElement("img");
  image.alt = "";
  if (picture) image.src = picture;
  button.append(image, Object.assign(document.createElement("span"), { textContent: says }));
  button.addEventListener("click", () => chooseSky(base));
  return button;
}
$("skies").addEventListener("keydown", (event) => {
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  if (!step) return;
  event.preventDefault();
  const all = [...$("skies").children];
  const next = all[(all.findIndex((one) => one.dataset.base === state.rig.base) + step + all.length) % all.length];
  next.focus();
  chooseSky(next.dataset.base);
});

function ownSky() {
  $("skies").querySelector('[data-base="own"]')?.remove();
  $("skies").append(skyButton("own", "photo's"));
  if (state.rig.base === "own") sky.picture(skyPicture("own"));
}

async function openSky(file) {
  await busy("Opening the light", async (report, signal) => {
    const kept = await upload(file);
    const job = await run("/studio/domes", { input: kept.id }, report, signal);
    const { id } = await (await post("/studio/domes/open", { job: job.id })).json();
    state.light = { ...kept, dome: id };
    $("skies").querySelector(".opened")?.remove();
    const button = skyButton(id, kept.name);
    button.classList.add("opened");
    $("skies").append(button);
    chooseSky(id);
    tell(`Lit by ${kept.name}.`);
  });
}

slider($("strength"), (value, still) => { state.rig.strength = value; sky.show(); changed(still); });
slider($("exposure"), (value, still) => changed(still));
$("auto").addEventListener("change", () => { $("exposure").disabled = $("auto").checked; changed(true); });
$("background").addEventListener("change", () => changed(true));

function slider(field, set = () => {}) {
  const output = field.parentElement.querySelector("output");
  const say = () => { output.textContent = field.value; };
  field.addEventListener("input", () => { say(); set(Number(field.value), false); });
  field.addEventListener("change", () => set(Number(field.value), true));
  say();
}
for (const id of ["brush-size", "rough", "metal", "object-height", "object-turn", "views"]) slider($(id));

// ---- material

const painted = paint($("paint"), $("frame"), $("brush-size"));
function brush(mode) {
  $("brush").setAttribute("aria-pressed", mode === "paint");
  $("erase").setAttribute("aria-pressed", mode === "erase");
  painted.mode(mode);
}
$("brush").addEventListener("click", () => brush($("brush").getAttribute("aria-pressed") === "true" ? null : "paint"));
$("erase").addEventListener("click", () => brush($("erase").getAttribute("aria-pressed") === "true" ? null : "erase"));
$("clear-mask").addEventListener("click", () => painted.clear());
$("rough").addEventListener("input", () => { $("use-rough").checked = true; });
$("metal").addEventListener("input", () => { $("use-metal").checked = true; });
$("color").addEventListener("input", () => { $("use-color").checked = true; });
$("apply").addEventListener("click", () => {
  const changes = [];
  if ($("use-color").checked) changes.push(`base_color=${$("color").value}`);
  if ($("use-rough").checked) changes.push(`roughness=${$("rough").value}`);
  if ($("use-metal").checked) changes.push(`metallic=${$("metal").value}`);
  if (!changes.length) return tell("Nothing is to change: tick colour, roughness or metallic.", true);
  material(changes, painted.bytes());
});
$("undo").addEventListener("click", () => material([], null));
async function material(changes, mask) {
  if (!state.stage) return tell("Open a photo first.", true);
  await busy("Changing the material", async () => {
    const words = changes.map((one) => `change=${encodeURIComponent(one)}`).join("&");
    await ask(`/studio/stages/${state.stage.id}/material?${words}`, { method: "POST", body: mask ?? new Uint8Array() });
    Object.assign(state, { changes, mask: changes.length ? mask : null });
    brush(null);
    changed(true);
    tell(changes.length ? `Changed: ${changes.join(", ")}` : "As it was.");
  });
}

// ---- an object, an orbit

function moveSpot(x, y) {
  state.spot = [Math.min(0.99, Math.max(0.01, x)), Math.min(0.99, Math.max(0.01, y))];
  $("spot").style.left = `${state.spot[0] * 100}%`;
  $("spot").style.top = `${state.spot[1] * 100}%`;
  $("spot").setAttribute("aria-valuetext", `${Math.round(state.spot[0] * 100)} % from the left, ${Math.round(state.spot[1] * 100)} % from the top`);
}
moveSpot(0.5, 0.75);
const spotAt = (event) => {
  const box = $("frame").getBoundingClientRect();
  moveSpot((event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
};
drag($("spot"), spotAt);
drag($("frame"), spotAt, () => {}, (event) => !$("spot").hidden && event.target.id !== "divider" && event.target.id !== "spot");
const nudge = (x, y) => () => moveSpot(state.spot[0] + x, state.spot[1] + y);
keys($("spot"), { ArrowLeft: nudge(-0.01, 0), ArrowRight: nudge(0.01, 0), ArrowUp: nudge(0, -0.01), ArrowDown: nudge(0, 0.01) });

async function insert(preview) {
  if (!state.photo) return tell("Open a photo first.", true);
  const one = { asset: $("object").value, at: state.spot, height: `${$("object-height").value}%`, turn: Number($("object-turn").value) };
  await busy(preview ? "Placing the object" : "Inserting the object", async (report, signal) => {
    const job = await run("/v1/jobs/insert", { input: state.photo.id, objects: [one], preview }, report, signal);
    clearTimeout(picture.rest);
    await replacePicture(await (await ask(`/v1/files/${job.results.find((file) => file.name.endsWith(".png")).id}`)).blob());
    if (!preview) list(job.results);
    command({ asset: one.asset, at: one.at, height: Number($("object-height").value), turn: one.turn });
    tell(preview ? "So it would stand." : "Inserted; its files are under Save.");
  });
}
$("place").addEventListener("click", () => insert(true));
$("insert").addEventListener("click", () => insert(false));

$("orbit").addEventListener("click", () => busy("Making views", async (report, signal) => {
  const body = { prompt: $("prompt").value, cameras: `orbit:${$("views").value}`, model: $("views-model").value };
  const job = await run("/v1/jobs/multiview", body, report, signal);
  list(job.results.filter((file) => !file.name.includes("/")));
  select("tab-save");
  tell("The orbit is made.");
}));

// ---- saving

function list(files) {
  $("results").replaceChildren(...files.map((file) => {
    const item = document.createElement("li");
    const link = document.createElement("a");
    link.href = `/v1/files/${file.id}`;
    link.download = file.name.split("/").pop();
    link.textContent = file.name;
    const size = document.createElement("span");
    size.textContent = file.bytes > 1e6 ? `${(file.bytes / 1e6).toFixed(1)} MB` : `${Math.ceil(file.bytes / 1e3)} kB`;
    item.append(link, size);
    return item;
  }));
}

const named = () => !state.rig.lamps.some((lamp) => lamp.on && lamp.power > 0) && state.rig.strength === 0 && !["own", "none"].includes(state.rig.base);
async function lightFile() {
  return (await post(`/studio/stages/${state.stage.id}/light`, state.rig)).json();
}

async function save(extra) {
  if (!state.stage) return tell("Open a photo first.", true);
  await busy("Making it", async (report, signal) => {
    const own = state.rig.base === "own" && !state.rig.yaw && !state.rig.lamps.length;
    const body = { input: state.photo.id, model: $("model").value || "mini", background: $("background").value };
    const read = []; // files that the command reads
    if (!(own && state.changes.length)) {
      if (!named()) read.push(await lightFile());
      body.light = read[0]?.id ?? (state.rig.base === state.light?.dome ? state.light.id : state.rig.base);
      if (named()) body.yaw = state.rig.yaw;
    }
    let verb = "relight";
    if (state.changes.length) {
      verb = "edit";
      body.changes = state.changes;
      if (state.mask) {
        read.push(await upload(await painted.png(state.mask), "studio-mask.png"));
        body.mask = read.at(-1).id;
      }
      if (!body.light) delete body.background;
    } else {
      Object.assign(body, extra, { exposure: look().exposure });
    }
    const job = await run(`/v1/jobs/${verb}`, body, report, signal);
    list([...job.results, ...read]);
    tell(job.message || "Made. Its files are listed under Save.");
  });
}
$("save-picture").addEventListener("click", () => save({}));
$("save-turn").addEventListener("click", () => save({ turn: 360, frames: 48 }));
$("save-maps").addEventListener("click", () => state.photo ? busy("Making the maps", async (report, signal) => {
  list((await run("/v1/jobs/inverse", { input: state.photo.id, model: $("model").value || "mini" }, report, signal)).results);
  tell("Made.");
}) : tell("Open a photo first.", true));
$("save-light").addEventListener("click", async () => {
  if (!state.stage) return tell("Open a photo first.", true);
  try { list([await lightFile()]); tell("Made."); } catch (error) { tell(error.message, true); }
});

// ---- tabs, model, theme

const tabs = [...$("tabs").children];
function select(id) {
  for (const tab of tabs) {
    const chosen = tab.id === id;
    tab.setAttribute("aria-selected", chosen);
    tab.tabIndex = chosen ? 0 : -1;
    $(tab.getAttribute("aria-controls")).hidden = !chosen;
  }
  $("spot").hidden = id !== "tab-object";
  if (id !== "tab-material") brush(null);
}
for (const tab of tabs) tab.addEventListener("click", () => select(tab.id));
$("tabs").addEventListener("keydown", (event) => {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!step) return;
  const next = tabs[(tabs.indexOf(document.activeElement) + step + tabs.length) % tabs.length];
  next.focus();
  select(next.id);
});

$("theme").addEventListener("click", () => theme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
function theme(name) {
  document.documentElement.dataset.theme = name;
  try { localStorage.setItem("theme", name); } catch { /* it is asked again next time */ }
}
let stored = null;
try { stored = localStorage.getItem("theme"); } catch { /* none is kept */ }
theme(stored ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"));

function option(value, text) { return Object.assign(document.createElement("option"), { value, textContent: text }); }
async function start() {
  const [about, models] = await Promise.all([json("/studio/about"), json("/v1/models")]);
  state.about = about;
  $("skies").append(...about.lights.map((name) => skyButton(name, name)));
  chooseSky(state.rig.base);
  const here = models.filter((model) => model.here);
  const inverse = here.filter((model) => model.task === "inverse" && model.maps.includes("base_color") && model.maps.includes("normal"));
  $("model").append(...inverse.map((model) => option(model.id, model.id)));
  const licence = () => {
    const model = inverse.find((one) => one.id === $("model").value);
    $("licence").textContent = model ? `${model.licence}${model.commercial === "no" ? ", not for sale" : ""}` : "";
  };
  licence();
  $("model").addEventListener("change", () => {
    licence();
    if (state.photo) busy("Taking the photo apart", apart);
  });
  $("object").append(...about.objects.map((name) => option(name, name)));
  $("object").value = "teapot";
  $("no-insert").hidden = about.insert;
  $("place").disabled = $("insert").disabled = !about.insert;
  const views = here.filter((model) => model.task === "multi_view");
  $("views-model").append(...views.map((model) => option(model.id, `${model.id} (${model.licence})`)));
  $("no-orbit").hidden = views.length > 0;
  $("orbit").disabled = views.length === 0;
  document.body.dataset.ready = true;
}
start().catch((error) => tell(error.message, true));
