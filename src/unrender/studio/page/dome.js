// The light dome: all directions as seen from the camera, what is ahead in the middle. The sky turns, lamps stay.

import { drag, keys } from "/page/compare.js";

const wrapped = (degrees) => ((((degrees + 180) % 360) + 360) % 360) - 180;

export function dome(element, rig, changed) {
  const sky = element.querySelector("#sky");
  const list = document.querySelector("#lamps");

  const show = () => {
    // The map of a light that is turned by a positive yaw moves to the left.
    const width = element.clientWidth;
    sky.style.backgroundPositionX = `${(-rig.yaw / 360) * width}px`;
    sky.style.opacity = Math.min(1, 0.35 + 2 ** rig.strength * 0.65);
    element.setAttribute("aria-valuenow", Math.round(wrapped(rig.yaw)));
    element.setAttribute("aria-valuetext", `light turned by ${Math.round(wrapped(rig.yaw))} degrees`);
    rig.lamps.forEach((lamp, index) => {
      const mark = element.querySelectorAll(".lamp-mark")[index];
      if (!mark) return;
      mark.style.left = `${((wrapped(lamp.azimuth) + 180) / 360) * 100}%`;
      mark.style.top = `${((90 - lamp.elevation) / 180) * 100}%`;
      mark.style.background = lamp.color;
      mark.style.setProperty("--glow", lamp.color);
      mark.classList.toggle("off", !lamp.on);
      mark.setAttribute("aria-valuenow", Math.round(lamp.azimuth));
      mark.setAttribute("aria-valuetext", `${Math.round(lamp.azimuth)} degrees to the right, ${Math.round(lamp.elevation)} up`);
    });
  };
  const told = (still) => { show(); changed(still); };

  let start = null;
  drag(
    element,
    (event) => {
      if (!start) start = { x: event.clientX, yaw: rig.yaw };
      rig.yaw = Math.round(wrapped(start.yaw - ((event.clientX - start.x) / element.clientWidth) * 360) * 10) / 10;
      told(false);
    },
    () => { start = null; told(true); },
    (event) => !event.target.classList.contains("lamp-mark"),
  );
  const turn = (degrees) => { rig.yaw = wrapped(rig.yaw + degrees); told(true); };
  keys(element, { ArrowLeft: () => turn(5), ArrowRight: () => turn(-5), Home: () => { rig.yaw = 0; told(true); } });

  const build = () => {
    element.querySelectorAll(".lamp-mark").forEach((mark) => mark.remove());
    list.replaceChildren();
    rig.lamps.forEach((lamp, index) => {
      element.append(markOf(element, lamp, index, told));
      list.append(cardOf(lamp, index, told, () => { rig.lamps.splice(index, 1); build(); told(true); }));
    });
    show();
  };
  new ResizeObserver(show).observe(element);
  build();
  return {
    show,
    add() {
      rig.lamps.push({ azimuth: 50 - 40 * (rig.lamps.length % 4), elevation: 35, width: 12, color: "#fff1e0", power: 2, on: true });
      build();
      told(true);
    },
    picture(address) { sky.style.backgroundImage = address ? `url("${address}")` : "none"; },
  };
}

function markOf(element, lamp, index, told) {
  const mark = document.createElement("div");
  mark.className = "lamp-mark";
  mark.tabIndex = 0;
  mark.setAttribute("role", "slider");
  mark.setAttribute("aria-label", `Lamp ${index + 1}: arrow keys move it`);
  mark.setAttribute("aria-valuemin", -180);
  mark.setAttribute("aria-valuemax", 180);
  const move = (azimuth, elevation, still) => {
    lamp.azimuth = Math.round(wrapped(azimuth));
    lamp.elevation = Math.round(Math.min(89, Math.max(-89, elevation)));
    told(still);
  };
  drag(
    mark,
    (event) => {
      const box = element.getBoundingClientRect();
      move(((event.clientX - box.left) / box.width) * 360 - 180, 90 - ((event.clientY - box.top) / box.height) * 180, false);
    },
    () => told(true),
  );
  keys(mark, {
    ArrowLeft: () => move(lamp.azimuth - 5, lamp.elevation, true),
    ArrowRight: () => move(lamp.azimuth + 5, lamp.elevation, true),
    ArrowUp: () => move(lamp.azimuth, lamp.elevation + 5, true),
    ArrowDown: () => move(lamp.azimuth, lamp.elevation - 5, true),
  });
  return mark;
}

function cardOf(lamp, index, told, remove) {
  const card = document.createElement("div");
  card.className = "lamp";
  const row = document.createElement("div");
  row.className = "row";
  const on = input("checkbox", `Lamp ${index + 1}`, lamp.on, (value) => { lamp.on = value; told(true); });
  const color = input("color", "", lamp.color, (value) => { lamp.color = value; told(true); });
  color.querySelector("input").setAttribute("aria-label", `Colour of lamp ${index + 1}`);
  const away = document.createElement("button");
  away.className = "plain small";
  away.textContent = "Remove";
  away.setAttribute("aria-label", `Remove lamp ${index + 1}`);
  away.addEventListener("click", remove);
  row.append(on, color, away);
  card.append(
    row,
    range("Power", 0, 20, 0.1, lamp.power, (value, still) => { lamp.power = value; told(still); }),
    range("Width, degrees", 3, 60, 1, lamp.width, (value, still) => { lamp.width = value; told(still); }),
  );
  return card;
}

function input(type, text, value, set) {
  const label = document.createElement("label");
  label.className = "check";
  label.style.margin = 0;
  const field = document.createElement("input");
  field.type = type;
  if (type === "checkbox") field.checked = value; else field.value = value;
  field.addEventListener("input", () => set(type === "checkbox" ? field.checked : field.value));
  label.append(field, text);
  return label;
}

function range(text, min, max, step, value, set) {
  const label = document.createElement("label");
  label.className = "slide";
  const field = Object.assign(document.createElement("input"), { type: "range", min, max, step, value });
  const shown = document.createElement("output");
  shown.textContent = value;
  field.addEventListener("input", () => { shown.textContent = field.value; set(Number(field.value), false); });
  field.addEventListener("change", () => set(Number(field.value), true));
  label.append(text, field, shown);
  return label;
}
