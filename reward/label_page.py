"""The page of `tandem label`: one HTML document without anything from elsewhere, driven by keys."""

from __future__ import annotations

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Tandem: label</title><style>
:root { --ink: #0f172a; --soft: #64748b; --line: #e2e8f0; --page: #f6f7f9; --accent: #2563eb; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); display: flex; height: 100vh;
  font: 14px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
nav { width: 250px; overflow-y: auto; border-right: 1px solid var(--line); background: #fff; }
nav div { padding: 6px 12px; border-bottom: 1px solid var(--line); cursor: pointer; }
nav div.on { background: #dbeafe; } nav .soft { font-size: 12px; }
main { flex: 1; padding: 16px 22px; overflow-y: auto; }
img { display: block; max-width: 100%; min-height: 200px; background: #222; border-radius: 6px; }
canvas { width: 100%; height: 74px; margin: 12px 0 2px; background: #fff; border: 1px solid var(--line); }
.soft { color: var(--soft); } #said { min-height: 1.5em; font-weight: 600; }
kbd { border: 1px solid #cbd5e1; border-bottom-width: 2px; border-radius: 4px; padding: 0 5px; background: #fff;
  font: 12px ui-monospace, monospace; } td { padding: 2px 14px 2px 0; vertical-align: top; }
i { display: inline-block; width: 10px; height: 10px; border-radius: 2px; }
</style><nav id="list"></nav><main>
<img id="frame" alt="frame"><canvas id="line" width="1200" height="74"></canvas>
<div id="where" class="soft"></div><div id="said"></div><table id="keys"></table>
<p class="soft" id="sums"></p></main><script>
const TOKEN = new URLSearchParams(location.search).get("token");
const LABELS = [["1", "success", "#16a34a"], ["2", "failure", "#94a3b8"], ["3", "almost", "#f59e0b"],
  ["4", "air", "#f97316"], ["5", "drop", "#b45309"], ["6", "wrong", "#dc2626"]];
const COLOUR = Object.fromEntries(LABELS.map(l => [l[1], l[2]]));
let all = [], now = 0, episode = null, frame = 0, anchor = null, playing = null, saving = Promise.resolve();
const $ = id => document.getElementById(id);
async function call(path, body) {
  const answer = await fetch(path, { method: body ? "POST" : "GET", headers: { "X-Tandem-Token": TOKEN },
    body: body ? JSON.stringify(body) : undefined });
  const found = await answer.json();
  if (!answer.ok) throw new Error(found.error);
  return found;
}
const became = e => e.near_miss ? "near miss" : !e.outcome ? "running" :
  e.outcome + (e.author ? " by " + e.author : "");
const say = text => { $("said").textContent = text; };
async function refresh() {
  const found = await call("/api/episodes");
  all = found.episodes;
  $("sums").textContent = "Labelled: " + Object.entries(found.counts).map(([k, n]) => n + " " + k).join(", ") +
    (found.hard < found.counts.failure / 4 ?
     ". Few hard negatives: look for frames that almost succeed or close on air, and label them 3 or 4." : ".");
  $("list").replaceChildren(...all.map((e, i) => {
    const row = document.createElement("div");
    row.className = i === now ? "on" : "";
    row.textContent = (e.finished ? "\\u2713 " : "") + (i + 1) + ". " + became(e);
    const more = document.createElement("div");
    more.className = "soft"; more.style.cssText = "padding:0;border:0";
    more.textContent = e.frames + " frames, " + e.labelled + " labelled" +
      (e.score === null ? "" : ", best score " + e.score.toFixed(2));
    row.append(more);
    row.onclick = () => open_(i);
    return row;
  }));
  return found.run;
}
async function open_(i, at = 0) {
  if (!all.length) { say("No episodes yet."); return; }
  now = Math.max(0, Math.min(all.length - 1, i)); anchor = null;
  await saving; await refresh();
  episode = await call("/api/episode/" + all[now].id);
  document.querySelector("nav .on")?.scrollIntoView({ block: "nearest" });
  show(at);
}
function show(i) {
  frame = Math.max(0, Math.min(episode.labels.length - 1, i));
  $("frame").src = "/api/frame/" + all[now].id + "/" + frame + ".jpg?token=" + TOKEN;
  const score = episode.scores[frame];
  $("where").textContent = "Episode " + (now + 1) + " of " + all.length + " (" + became(all[now]) +
    "), frame " + frame + " of " + (episode.labels.length - 1) + ": " + (episode.labels[frame] || "no label") +
    (score === null ? "" : ", score " + score.toFixed(3)) + (anchor === null ? "" : ", from frame " + anchor);
  draw();
}
function span() {
  return anchor === null ? [frame, frame] : [Math.min(anchor, frame), Math.max(anchor, frame)];
}
function draw() {
  const c = $("line"), g = c.getContext("2d"), n = episode.labels.length, w = c.width / n;
  g.clearRect(0, 0, c.width, c.height);
  episode.labels.forEach((l, i) => { g.fillStyle = COLOUR[l] || "#f1f5f9"; g.fillRect(i * w, 48, w + 1, 26); });
  g.strokeStyle = "#2563eb"; g.lineWidth = 2; g.beginPath();
  episode.scores.forEach((s, i) => { if (s !== null) g.lineTo((i + .5) * w, 44 - 40 * s); });
  g.stroke();
  const [a, b] = span();
  g.strokeStyle = "#0f172a"; g.strokeRect(a * w, 1, Math.max((b - a + 1) * w, 3), 72);
}
function save(finished) {
  const id = all[now].id, labels = episode.labels.slice();
  saving = saving.then(() => call("/api/labels/" + id, { labels, finished }))
    .then(() => true, e => { say(e.message); return false; });
  return saving;
}
function paint(label) {
  const [from, to] = span();
  for (let i = from; i <= to; i++) episode.labels[i] = label;
  save(all[now].finished); anchor = null; show(to + 1);
}
async function finish() {
  episode.labels = episode.labels.map(l => l || "failure");
  if (!await save(true)) return;
  say("Done with episode " + (now + 1) + ": what had no label is failure."); open_(now + 1);
}
async function amend(outcome) {
  await call("/api/amend/" + all[now].id, { outcome, step: Math.max(frame - 1, 0) });
  say("Episode " + (now + 1) + " is now: " + outcome + "."); await open_(now);
}
function stop() { clearInterval(playing); playing = null; }
const KEYS = {
  ArrowLeft: e => show(frame - (e.shiftKey ? 10 : 1)), ArrowRight: e => show(frame + (e.shiftKey ? 10 : 1)),
  Home: () => show(0), End: () => show(episode.labels.length - 1),
  ArrowUp: () => open_(now - 1), ArrowDown: () => open_(now + 1),
  " ": () => playing ? stop() : playing = setInterval(
    () => frame + 1 < episode.labels.length ? show(frame + 1) : stop(), 100),
  v: () => { anchor = anchor === null ? frame : null; show(frame); }, "0": () => paint(""), Enter: finish,
  s: () => amend("success"), f: () => amend("failure"), x: () => amend("discarded"),
};
LABELS.forEach(l => { KEYS[l[0]] = () => paint(l[1]); });
document.addEventListener("keydown", async e => {
  const act = KEYS[e.key] || KEYS[e.key.toLowerCase()];
  if (!act || e.ctrlKey || e.metaKey || e.altKey) return;
  e.preventDefault(); say("");
  try { await act(e); } catch (error) { say(error.message); }
});
const help = [["\\u2190 \\u2192", "frame before, after; with Shift ten"], ["\\u2191 \\u2193", "episode before, after"],
  ["space", "play, stop"], ["V", "mark where a span begins; the next label fills it"],
  ...LABELS.map(l => [l[0], l[1], l[2]]), ["0", "no label"],
  ["Enter", "done with this episode: the rest is failure"],
  ["S F X", "that was wrong: the episode is a success at this frame, a failure, or never to be learned from"]];
$("keys").innerHTML = help.map(h => "<tr><td><kbd>" + h[0] + "</kbd></td><td>" +
  (h[2] ? "<i style='background:" + h[2] + "'></i> " : "") + h[1] + "</td></tr>").join("");
async function begin() {
  const run = await refresh(), [id, at] = (location.hash || "").slice(1).split("/");
  const named = all.findIndex(e => e.id === id);
  if (named >= 0) await open_(named, Number(at) || 0);
  else await open_(run ? all.findLastIndex(e => e.outcome) : all.findIndex(e => !e.finished));
  if (id && named < 0) say("No episode " + id + " here.");
}
globalThis.onhashchange = () => begin().catch(e => say(e.message));
onhashchange();
setInterval(() => refresh().catch(() => say("`tandem label` has ended.")), 5000);
</script></html>
"""
