// Before and after, with a divider that a hand or the arrow keys move.

export function compare(frame, divider) {
  let at = 50;
  const set = (value) => {
    at = Math.min(100, Math.max(0, value));
    frame.style.setProperty("--at", `${at}%`);
    frame.classList.toggle("all-after", at < 12);
    frame.classList.toggle("all-before", at > 88);
    divider.setAttribute("aria-valuenow", Math.round(at));
    divider.setAttribute("aria-valuetext", `${Math.round(at)} percent before`);
  };
  drag(divider, (event) => {
    const box = frame.getBoundingClientRect();
    set(((event.clientX - box.left) / box.width) * 100);
  });
  keys(divider, { ArrowLeft: () => set(at - 2), ArrowRight: () => set(at + 2), Home: () => set(0), End: () => set(100) });
  set(50);
  return set;
}

// Calls `moved` with every place of a pointer that was pressed on `element`, and `ended` when it is let go.
export function drag(element, moved, ended = () => {}, began = () => true) {
  element.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || !began(event)) return;
    event.preventDefault();
    element.focus({ preventScroll: true });
    element.setPointerCapture(event.pointerId);
    const move = (next) => moved(next);
    const stop = (next) => {
      element.removeEventListener("pointermove", move);
      element.removeEventListener("pointerup", stop);
      element.removeEventListener("pointercancel", stop);
      ended(next);
    };
    element.addEventListener("pointermove", move);
    element.addEventListener("pointerup", stop);
    element.addEventListener("pointercancel", stop);
    moved(event);
  });
}

export function keys(element, actions) {
  element.addEventListener("keydown", (event) => {
    if (!(event.key in actions) || event.target !== element) return;
    event.preventDefault();
    actions[event.key]();
  });
}
