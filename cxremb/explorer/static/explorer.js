// Pages that are swapped without losing the map, and keys. Without scripts every link and form works too.

const $ = (selector, from = document) => from.querySelector(selector);
const typing = () => ["INPUT", "TEXTAREA", "SELECT"].includes(document.activeElement?.tagName);
let asked = 0;

// Show what an address shows: filters, rows and title are taken from its page, the map is told.
async function show(address, { push = true } = {}) {
  const mine = ++asked;
  const answer = await fetch(address, { headers: { accept: "text/html" } });
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  if (mine !== asked) return; // a later click was faster
  if (!$("#rows", page)) return void location.assign(address);
  if (push) history.pushState(null, "", address);
  const kept = document.activeElement?.dataset?.key;
  const open = $("#filters details")?.open;
  for (const part of ["#filters", "#rows", ".top nav"]) $(part).replaceWith($(part, page));
  for (const input of document.querySelectorAll("#where input[type=hidden]")) input.remove();
  $("#where").prepend(...page.querySelectorAll("#where input[type=hidden]"));
  if ($("#filters details")) $("#filters details").open = open;
  if (document.activeElement?.id !== "sql") $("#sql").value = $("#sql", page).value;
  $("#sql").toggleAttribute("aria-invalid", $("#sql", page).hasAttribute("aria-invalid"));
  document.title = page.title;
  if (kept) $(`[data-key="${CSS.escape(kept)}"]`)?.focus({ preventScroll: true });
  document.dispatchEvent(new CustomEvent("shown"));
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-swap]");
  if (link && !event.metaKey && !event.ctrlKey && !event.shiftKey && event.button === 0) {
    event.preventDefault();
    show(link.href).then(() => { if (link.rel) scrollTo({ top: 0 }); });
  }
  const opener = event.target.closest("[data-open]");
  if (opener) document.getElementById(opener.dataset.open).showModal();
  const near = event.target.closest("[data-near]");
  if (near) lookNear(near);
});

// The address of a form, without what is empty.
const addressOf = (form) => {
  const said = [...new FormData(form)].filter(([, value]) => value !== "");
  return `${form.getAttribute("action")}?${new URLSearchParams(said)}`;
};

document.addEventListener("submit", (event) => {
  if (event.target.id !== "where") return;
  event.preventDefault();
  show(addressOf(event.target));
});

// A note says something: words, or a corrected label.
function checkNote(form) {
  const empty = !form.elements.text.value.trim() && !form.elements.value?.value;
  form.elements.text.setCustomValidity(empty ? "Write some words, or choose a label." : "");
}
const written = $("form.write");
if (written) {
  checkNote(written);
  for (const kind of ["input", "change"]) written.addEventListener(kind, () => checkNote(written));
}

document.addEventListener("change", (event) => {
  const form = event.target.closest("form.sort");
  if (form) form.getAttribute("action") === "/" ? show(addressOf(form)) : location.assign(addressOf(form));
});

addEventListener("popstate", () => {
  if (document.body.dataset.page === "overview") show(location.href, { push: false });
});

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && typing()) return void document.activeElement.blur();
  if (typing() || event.metaKey || event.ctrlKey || event.altKey || $("dialog[open]")) return;
  if (event.target.closest?.("#stage") && event.key.startsWith("Arrow") && event.shiftKey) return;
  const act = {
    ArrowLeft: () => $("a[rel=prev]")?.click(),
    ArrowRight: () => $("a[rel=next]")?.click(),
    "/": () => ($("#sql") ? $("#sql").select() : $("a[data-up]")?.click()),
    n: () => $("#note")?.focus(),
    "?": () => $("#help").showModal(),
    Escape: () => $("a[data-up]")?.click(),
  }[event.key];
  if (act) {
    event.preventDefault();
    act();
  }
});

// A row and its dot light each other.
for (const [kind, lit] of [["pointerover", true], ["pointerout", false], ["focusin", true], ["focusout", false]]) {
  document.addEventListener(kind, (event) => {
    const row = event.target.closest?.("#rows [data-n]");
    if (row) document.dispatchEvent(new CustomEvent("row", { detail: lit ? Number(row.dataset.n) : null }));
  });
}

// In place of a film that does not come stands why: it is gone, has changed, or cannot be read.
async function excuse(img) {
  const mark = Object.assign(document.createElement("span"), { className: "nofilm", textContent: "this film cannot be shown" });
  img.replaceWith(mark);
  const answer = await fetch(img.src);
  if (!answer.ok) mark.textContent = (await answer.text()).split("\n")[0];
}
const failed = (img) => img.matches?.("img[src^='/film/']");
document.addEventListener("error", (event) => { if (failed(event.target)) excuse(event.target); }, true);
for (const img of document.images) if (failed(img) && img.complete && !img.naturalWidth) excuse(img);

async function lookNear(button) {
  for (const one of document.querySelectorAll("[data-near]")) one.setAttribute("aria-pressed", one === button);
  const answer = await fetch(button.dataset.near, { headers: { accept: "text/html" } });
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  if (button.getAttribute("aria-pressed") === "true") $(".nearest").replaceChildren(...($("main", page) ?? page.body).childNodes);
}

if ($("[data-near]")) lookNear($("[data-near]")).then(() => { if (location.hash === "#notes") $("#notes").scrollIntoView(); });
if (matchMedia("(max-width: 46rem)").matches) for (const one of document.querySelectorAll("details.fold")) one.open = false;

export { show };
