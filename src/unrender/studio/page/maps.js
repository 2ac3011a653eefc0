// The maps that a photo is made of, and the value under the pointer.

import { ask } from "/page/api.js";

const NAMES = { base_color: "base colour", diffuse_albedo: "diffuse albedo" };

export function maps(strip, frame, value, shown) {
  let current = "relit";
  let values = null;
  const state = { stage: null };

  const select = async (name) => {
    current = name;
    values = null;
    value.hidden = true;
    for (const button of strip.children) {
      const chosen = button.dataset.map === name;
      button.setAttribute("aria-checked", chosen);
      button.tabIndex = chosen ? 0 : -1;
    }
    shown(name);
    if (name === "relit") return;
    const bytes = await (await ask(`/studio/stages/${state.stage.id}/maps/${name}.f16`)).arrayBuffer();
    if (current === name) values = new DataView(bytes);
  };

  strip.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const all = [...strip.children];
    const next = all[(all.findIndex((one) => one.dataset.map === current) + step + all.length) % all.length];
    next.focus();
    select(next.dataset.map);
  });

  const read = (event) => {
    if (!values) return;
    const { width, height } = state.stage;
    const box = frame.getBoundingClientRect();
    const x = Math.floor(((event.clientX - box.left) / box.width) * width);
    const y = Math.floor(((event.clientY - box.top) / box.height) * height);
    if (x < 0 || y < 0 || x >= width || y >= height) return;
    const channels = values.byteLength / 2 / (width * height);
    const numbers = [...Array(channels).keys()].map((c) => half(values.getUint16(((y * width + x) * channels + c) * 2, true)));
    value.textContent = `${x}, ${y}   ${numbers.map((n) => n.toFixed(3)).join("  ")}`;
    value.hidden = false;
  };
  frame.addEventListener("pointermove", read);
  frame.addEventListener("pointerleave", () => { value.hidden = true; });

  return {
    select,
    get current() { return current; },
    open(stage) {
      state.stage = stage;
      strip.replaceChildren(...["relit", ...stage.maps].map((name) => {
        const button = document.createElement("button");
        button.dataset.map = name;
        button.setAttribute("role", "radio");
        const picture = document.createElement("img");
        picture.alt = "";
        picture.src = name === "relit" ? `/studio/stages/${stage.id}/photo.jpg` : `/studio/stages/${stage.id}/maps/${name}.png`;
        button.append(picture, name === "relit" ? "photo" : NAMES[name] ?? name);
        button.addEventListener("click", () => select(name));
        return button;
      }));
      strip.hidden = false;
      select("relit");
    },
  };
}

// A half float by its bits.
function half(bits) {
  const sign = bits & 0x8000 ? -1 : 1, power = (bits >> 10) & 31, part = bits & 1023;
  if (power === 31) return part ? NaN : sign * Infinity;
  return sign * (power ? 2 ** (power - 15) * (1 + part / 1024) : 2 ** -14 * (part / 1024));
}
