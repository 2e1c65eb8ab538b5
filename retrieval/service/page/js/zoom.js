// Nearer and farther: by the wheel, buttons and two fingers; a drag moves what is near, and a swipe turns what is not.

const apart = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1]) || 1;

// All pictures in a place, tied; gives what zooms by a factor. turn(way): a finger has swiped.
export function zooming(place, most, turn) {
  let [scale, x, y, begun] = [1, 0, 0, 0];
  const fingers = new Map();
  const zoom = (times, across = 0, down = 0) => {
    scale = Math.min(most, Math.max(1, scale * times));
    [x, y] = scale === 1 ? [0, 0] : [x + across, y + down];
    for (const one of place.querySelectorAll("img")) one.style.transform = `translate(${x}px, ${y}px) scale(${scale})`;
  };
  place.addEventListener("wheel", (event) => { event.preventDefault(); zoom(event.deltaY < 0 ? 1.15 : 1 / 1.15); }, { passive: false });
  place.addEventListener("pointerdown", (event) => {
    if (event.button || event.target.closest("button")) return;
    place.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, [event.clientX, event.clientY]);
    begun = fingers.size === 1 && scale === 1 ? event.clientX : NaN;
  });
  place.addEventListener("pointermove", (event) => {
    const before = fingers.get(event.pointerId);
    if (!before) return;
    const here = [event.clientX, event.clientY];
    const other = [...fingers].find(([id]) => id !== event.pointerId)?.[1];
    if (other) zoom(apart(here, other) / apart(before, other));
    else if (scale > 1) zoom(1, here[0] - before[0], here[1] - before[1]);
    fingers.set(event.pointerId, here);
  });
  for (const end of ["pointerup", "pointercancel"]) {
    place.addEventListener(end, (event) => {
      const way = event.clientX - begun;
      if (fingers.delete(event.pointerId) && end === "pointerup" && event.pointerType === "touch" && Math.abs(way) > 60) turn?.(Math.sign(way));
    });
  }
  place.addEventListener("dblclick", (event) => { if (!event.target.closest("button")) zoom(scale > 1 ? 0 : 3); });
  return zoom;
}
