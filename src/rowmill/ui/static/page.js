// The page's script: news of the run, keys, completion, the two steps of a change. Texts are only ever set as text; the
// one piece of HTML that is put in is what this server made, and it escapes everything.
"use strict";

const body = document.body;
const base = body.dataset.base;
const byId = (name) => document.getElementById(name);

// News ---------------------------------------------------------------------------------------------------------------

function showState(state, name) {
  const pill = byId("state");
  pill.textContent = state;
  pill.className = `state ${state}`;
  if (body.dataset.tab === "now") document.title = `${name} · Rowmill`;
}

function replaceNow(html, number) {
  const now = byId("now");
  const selection = window.getSelection();
  if (selection && !selection.isCollapsed && now.contains(selection.anchorNode)) return; // somebody copies from it
  const kept = new Map();
  for (const box of now.querySelectorAll("[data-keep], .scroll, .events")) kept.set(kept.size, [box.scrollLeft, box.scrollTop]);
  const hadFocus = document.activeElement && now.contains(document.activeElement) && document.activeElement.dataset.keep;
  now.innerHTML = html;
  now.dataset.seen = number;
  [...now.querySelectorAll("[data-keep], .scroll, .events")].forEach((box, place) => {
    const at = kept.get(place);
    if (at) [box.scrollLeft, box.scrollTop] = at;
  });
  if (hadFocus) {
    const again = now.querySelector(`[data-keep="${CSS.escape(hadFocus)}"]`);
    if (again) again.focus({ preventScroll: true });
  }
}

function told(text) {
  const now = byId("now");
  const news = JSON.parse(text);
  byId("pulse").textContent = "";
  showState(news.state, news.name);
  if (now && Number(now.dataset.seen) !== news.number) replaceNow(news.html, news.number);
}

const silent = () => { byId("pulse").textContent = "The page's server does not answer; 'rowmill ui' starts it again."; };

// Browsers open few connections to one server, so of all open pages one listens and tells the others.
function listen() {
  const now = byId("now");
  const others = new BroadcastChannel(`rowmill ${base}`);
  others.onmessage = (event) => (event.data === null ? silent() : told(event.data));
  const hear = () => {
    const news = new EventSource(`${base}/news?seen=${now ? now.dataset.seen : 0}`);
    news.onopen = () => { byId("pulse").textContent = ""; };
    news.onmessage = (event) => { told(event.data); others.postMessage(event.data); };
    news.onerror = () => { silent(); others.postMessage(null); };
    window.addEventListener("pagehide", () => news.close());
    return new Promise(() => {}); // as long as the page is open
  };
  navigator.locks.request(`rowmill ${base}`, hear);
}

// Text that is asked for ---------------------------------------------------------------------------------------------

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-whole]");
  if (!button) return;
  button.disabled = true;
  const answer = await fetch(button.dataset.whole);
  const text = await answer.text();
  const before = button.previousElementSibling;
  const whole = document.createElement("pre");
  whole.className = "value text";
  whole.dir = "auto";
  whole.textContent = text.replaceAll("\0", "\u2400");
  if (before && before.matches("pre")) { whole.className = before.className; before.replaceWith(whole); } else button.before(whole);
  button.remove();
});

const overTime = byId("over-time");
if (overTime) {
  overTime.addEventListener("toggle", async () => {
    const place = overTime.querySelector("div");
    if (!overTime.open || place.childElementCount) return;
    place.textContent = "Reading …";
    const answer = await fetch(`${base}/over-time`);
    if (answer.ok) place.innerHTML = await answer.text(); else place.textContent = await answer.text();
  });
}

// Rows ---------------------------------------------------------------------------------------------------------------

const rows = [...document.querySelectorAll("#rows tbody tr")];
let chosen = -1;

function choose(place) {
  if (!rows.length) return;
  if (rows[chosen]) rows[chosen].classList.remove("chosen");
  chosen = Math.max(0, Math.min(rows.length - 1, place));
  rows[chosen].classList.add("chosen");
  rows[chosen].scrollIntoView({ block: "nearest" });
}

for (const row of rows) {
  row.addEventListener("click", (event) => {
    const selection = window.getSelection();
    if (!event.target.closest("a") && (!selection || selection.isCollapsed)) location.href = row.dataset.href;
  });
}

for (const box of document.querySelectorAll(".choose input")) {
  box.addEventListener("change", () => {
    for (const other of document.querySelectorAll(".choose input")) delete other.dataset.untouched;
  });
}
for (const form of document.querySelectorAll("form.ask")) {
  form.addEventListener("submit", () => {
    for (const box of form.querySelectorAll("[data-untouched]")) box.disabled = true; // all of them: say nothing
  });
}

// Keys ---------------------------------------------------------------------------------------------------------------

function step(direction) {
  const link = document.querySelector(`[data-step="${direction}"]`);
  if (link) link.click();
  return Boolean(link);
}

const KEYS = {
  ArrowLeft: () => step("left"),
  ArrowRight: () => step("right"),
  j: () => (choose(chosen + 1), true),
  k: () => (choose(chosen - 1), true),
  u: () => { const up = document.querySelector("[data-up]"); if (up) up.click(); return Boolean(up); },
  "/": () => { const ask = byId("ask"); if (ask) ask.focus(); return Boolean(ask); },
  "?": () => (byId("help").showModal(), true),
  Enter: () => { if (rows[chosen]) location.href = rows[chosen].dataset.href; return Boolean(rows[chosen]); },
};

document.addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey || event.defaultPrevented) return;
  if (event.target.closest("input, textarea, select, dialog")) {
    if (event.key === "Escape" && !event.target.closest("dialog")) event.target.blur();
    return;
  }
  if (event.key === "Enter" && event.target.closest("a, button, summary")) return;
  if (event.key.startsWith("Arrow") && event.target.closest(".scroll[tabindex]")) return;
  const tab = document.querySelector(`[data-go="${CSS.escape(event.key)}"]`);
  const done = tab ? (tab.click(), true) : KEYS[event.key] && KEYS[event.key]();
  if (done) event.preventDefault();
});
byId("help-open").addEventListener("click", () => byId("help").showModal());

// SQL and its completion ---------------------------------------------------------------------------------------------

const editor = document.querySelector("form.sql textarea");
if (editor) {
  const list = byId("names");
  let views = null;
  let offers = [];
  let offered = 0;
  const words = () => editor.value.slice(0, editor.selectionStart).match(/[\w.]*$/)[0];
  const hide = () => { list.hidden = true; editor.setAttribute("aria-expanded", "false"); };

  const found = (word) => {
    const [view, column] = word.includes(".") ? word.split(".", 2) : [null, word];
    const mentioned = Object.keys(views).filter((name) => new RegExp(`\\b${name}\\b`, "i").test(editor.value));
    const all = [];
    if (view === null) for (const name of Object.keys(views)) all.push([name, "view"]);
    const of = view !== null && views[view] ? [view] : mentioned;
    for (const name of of) for (const one of views[name]) all.push([one, name]);
    const seen = new Set();
    return all.filter(([name]) => name.toLowerCase().startsWith(column.toLowerCase()) && name !== column && !seen.has(name) && seen.add(name)).slice(0, 40);
  };

  const quoted = (name) => (/^[a-z_]\w*$/i.test(name) ? name : `"${name.replaceAll('"', '""')}"`);
  const take = (place) => {
    const word = words().split(".").pop();
    const start = editor.selectionStart - word.length;
    editor.setRangeText(quoted(offers[place][0]), start, editor.selectionStart, "end");
    hide();
    editor.focus();
  };
  const draw = () => {
    list.replaceChildren(...offers.map(([name, from], place) => {
      const item = document.createElement("li");
      item.setAttribute("role", "option");
      item.setAttribute("aria-selected", String(place === offered));
      const note = document.createElement("span");
      note.textContent = from;
      item.append(name, note);
      item.addEventListener("mousedown", (event) => { event.preventDefault(); take(place); });
      return item;
    }));
    list.hidden = !offers.length;
    editor.setAttribute("aria-expanded", String(Boolean(offers.length)));
    if (offers.length) list.children[offered].scrollIntoView({ block: "nearest" });
  };
  const offer = async () => {
    if (!views) {
      const answer = await fetch(`${base}/sql/names`);
      if (!answer.ok) return;
      views = await answer.json();
    }
    offers = found(words());
    offered = 0;
    draw();
  };

  editor.addEventListener("input", () => (words().length > 1 ? offer() : hide()));
  editor.addEventListener("blur", hide);
  editor.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key === "Enter") { event.preventDefault(); editor.form.requestSubmit(); return; }
    if (list.hidden) {
      if (event.key === "Tab" && !event.shiftKey && words()) { event.preventDefault(); offer(); }
      return;
    }
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      offered = (offered + (event.key === "ArrowDown" ? 1 : offers.length - 1)) % offers.length;
      draw();
    } else if (event.key === "Tab" || event.key === "Enter") take(offered);
    else if (event.key === "Escape") hide();
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
}

// Acting: first the count, then the question --------------------------------------------------------------------------

async function post(path, values) {
  const answer = await fetch(`${base}${path}`, { method: "POST", body: new URLSearchParams(values) });
  if (!answer.ok) throw new Error(await answer.text());
  return answer.json();
}

for (const form of document.querySelectorAll("form.act")) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const said = byId("said");
    const dialog = byId("confirm");
    said.textContent = "Counting …";
    try {
      const values = { verb: form.dataset.verb, ...Object.fromEntries(new FormData(form)) };
      const found = await post("/act/count", values);
      said.textContent = found.words;
      if (!found.key) return;
      byId("counted").textContent = found.words;
      dialog.returnValue = "";
      dialog.showModal();
      await new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
      if (dialog.returnValue !== "yes") { said.textContent = "Nothing was changed."; return; }
      said.textContent = (await post("/act/do", { key: found.key })).said;
    } catch (problem) {
      said.textContent = problem.message;
    }
  });
}

listen();
