"use strict";
const boxes = [...document.querySelectorAll("input[data-verdict]")];
const words = document.querySelector("#words");
function show() {
  const on = new Set(boxes.filter(box => box.checked).map(box => box.dataset.verdict));
  const word = words.value.toLowerCase();
  for (const row of document.querySelectorAll(".row[data-has]")) {
    const fits = row.dataset.has.split(" ").some(each => on.has(each)) &&
      row.dataset.id.includes(word);
    row.hidden = !fits;
  }
  for (const group of [...document.querySelectorAll(".clause"), ...document.querySelectorAll("section")])
    group.hidden = !group.querySelector(".row[data-has]:not([hidden])");
  for (const item of document.querySelectorAll(".finding"))
    item.hidden = !(on.has(item.dataset.has) && item.dataset.id.includes(word));
}
function reveal() {
  const found = location.hash && document.getElementById(location.hash.slice(1));
  if (found && found.tagName === "DETAILS") { found.hidden = false; found.open = true; found.scrollIntoView(); }
}
for (const each of [...boxes, words]) each.addEventListener("input", show);
addEventListener("hashchange", reveal);
reveal();
