// A film that can be moved, made larger, and seen through a window: grey values from black to white.

const stage = document.getElementById("stage");
const film = document.getElementById("film");
const low = document.getElementById("low");
const high = document.getElementById("high");
const invert = document.querySelector("[data-invert]");
let scale = 1, x = 0, y = 0;

const place = () => {
  film.style.transform = `translate(${x}px, ${y}px) scale(${scale})`;
  stage.classList.toggle("pixels", scale * film.clientWidth > 3 * film.naturalWidth);
};

// Zoom by a factor, so that what is under a point of the stage stays there.
function zoom(factor, atX = 0, atY = 0) {
  const next = Math.min(16, Math.max(1, scale * factor));
  x = atX - ((atX - x) * next) / scale;
  y = atY - ((atY - y) * next) / scale;
  scale = next;
  if (scale === 1) x = y = 0;
  place();
}

function see() {
  const from = Math.min(Number(low.value), Number(high.value) - 1) / 255;
  const to = Math.max(Number(high.value), Number(low.value) + 1) / 255;
  const sign = invert.getAttribute("aria-pressed") === "true" ? -1 : 1;
  const slope = sign / (to - from);
  const intercept = sign > 0 ? -from * slope : 1 - from * slope;
  for (const one of document.querySelectorAll("#window feFuncR, #window feFuncG, #window feFuncB")) {
    one.setAttribute("slope", slope);
    one.setAttribute("intercept", intercept);
  }
}

if (film) {
  stage.addEventListener("wheel", (event) => {
    event.preventDefault();
    const box = stage.getBoundingClientRect();
    zoom(Math.exp(-event.deltaY / 400), event.clientX - box.x - box.width / 2, event.clientY - box.y - box.height / 2);
  }, { passive: false });
  stage.addEventListener("pointerdown", (event) => stage.setPointerCapture(event.pointerId));
  stage.addEventListener("pointermove", (event) => {
    if (!stage.hasPointerCapture(event.pointerId) || scale === 1) return;
    x += event.movementX;
    y += event.movementY;
    place();
  });
  stage.addEventListener("dblclick", () => zoom(scale > 1 ? 0 : 3));
  stage.addEventListener("keydown", (event) => {
    const factor = { "+": 1.5, "=": 1.5, "-": 1 / 1.5, 0: 0 }[event.key];
    if (factor !== undefined) zoom(factor);
  });
  for (const button of document.querySelectorAll("[data-zoom]")) {
    button.addEventListener("click", () => zoom({ in: 1.5, out: 1 / 1.5, fit: 0 }[button.dataset.zoom]));
  }
  for (const one of [low, high]) one.addEventListener("input", see);
  invert.addEventListener("click", () => {
    invert.setAttribute("aria-pressed", invert.getAttribute("aria-pressed") !== "true");
    see();
  });
}
