"""The page in a real browser: nothing asked for, nothing said on the console, nothing cut, readable in every mode."""

from __future__ import annotations

import json
import re

import pytest
from browser import CHROMIUM, browser
from reports import full, renamed

from sim.report.html import page, picture_file

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here: apt-get install chromium")

CONTRAST_MIN = 4.5
"""Of the web's accessibility guidelines, level AA, for text of this size."""

MEASURE = """
(() => {
  const number = (text) => (text.match(/[\\d.]+/g) || [0, 0, 0, 0]).map(Number);
  const opaque = (text) => text !== 'transparent' && (number(text).length < 4 || number(text)[3] > 0);
  const light = (text) => number(text).slice(0, 3).map((v) => v / 255)
    .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if (opaque(colour)) return colour;
    }
    return getComputedStyle(document.documentElement).colorScheme === 'dark' ? 'rgb(0,0,0)' : 'rgb(255,255,255)';
  };
  const contrast = (one, other) => {
    const [a, b] = [light(one), light(other)].sort((x, y) => y - x);
    return (a + 0.05) / (b + 0.05);
  };
  const seen = (element) => element.checkVisibility({visibilityProperty: true}) && element.getClientRects().length > 0;
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const dim = [];
  const texts = new Set();
  while (walker.nextNode()) {
    const node = walker.currentNode, element = node.parentElement;
    if (!node.textContent.trim() || element.closest('title, style, .unseen') || !seen(element)) continue;
    texts.add(element);
    const style = getComputedStyle(element);
    const ink = element.closest('svg') ? style.fill : style.color;
    const found = contrast(ink, behind(element));
    if (found < 4.5) dim.push([node.textContent.trim().slice(0, 40), ink, behind(element), found]);
  }
  const wide = [...document.querySelectorAll('body *')]
    .filter((e) => seen(e) && !e.closest('.scroll, .unseen, .skip') && e.getBoundingClientRect().right > innerWidth + 1)
    .map((e) => e.tagName + ' ' + (e.textContent || '').slice(0, 40));
  const cut = [], over = [], pictures = [];
  for (const plot of document.querySelectorAll('svg.plot')) {
    const frame = plot.getBoundingClientRect();
    const shapes = plot.querySelectorAll('path, rect, circle, line').length;
    pictures.push([Math.round(frame.width), Math.round(frame.height), shapes]);
    const boxes = [...plot.querySelectorAll('text')].filter(seen).map((t) => [t, t.getBoundingClientRect()]);
    for (const [text, box] of boxes) {
      if (box.left < frame.left - 2 || box.right > frame.right + 2 || box.top < frame.top - 3 || box.bottom > frame.bottom + 3)
        cut.push([text.textContent, Math.round(box.left - frame.left), Math.round(box.right - frame.right)]);
    }
    const ticks = boxes.filter(([text]) => /\\b(tick|axis)\\b/.test(text.getAttribute('class') || ''));
    ticks.forEach(([one, a], i) => ticks.slice(i + 1).forEach(([other, b]) => {
      if (a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 2 && b.top < a.bottom - 2)
        over.push([one.textContent, other.textContent]);
    }));
  }
  const hidden = [...texts].filter((e) => !e.closest('svg') && e.scrollWidth > e.clientWidth + 1 &&
    getComputedStyle(e).overflowX === 'hidden').map((e) => e.textContent.slice(0, 40));
  return JSON.stringify({dim, wide, cut, over, hidden, pictures, texts: texts.size,
    across: document.documentElement.scrollWidth, tall: document.documentElement.scrollHeight});
})()
"""


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("chromium")) as found:
        yield found


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    comparison = full(folder / "out")
    texts = {
        "en": page(comparison),
        "zh": page(comparison, "zh"),
        "hostile": page(renamed(comparison, "\"'><img src=x onerror=alert(1)><script>alert(2)</script>")),
        "long": page(renamed(comparison, "a-very-long-name-of-" + "x" * 200)),
        "rtl": page(renamed(comparison, "\u202eשלום עולם ")),
    }
    for name, text in texts.items():
        (folder / f"{name}.html").write_text(text, encoding="utf-8")
    (folder / "waits.svg").write_text(picture_file(comparison, "waits") or "", encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("name", "width", "dark"),
    [
        *(("en", width, dark) for width in (375, 1280) for dark in (False, True)),
        *(("zh", 375, True), ("zh", 1280, False), ("long", 375, False), ("rtl", 375, False), ("hostile", 1280, True)),
    ],
)
def test_the_page_can_be_read(tab, pages, name, width, dark):
    tab.window(width, dark=dark)
    tab.open(pages / f"{name}.html")
    tab.run("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    assert tab.requests == [(pages / f"{name}.html").as_uri()]
    assert tab.complaints == []
    found = json.loads(tab.run(MEASURE))
    assert found["texts"] > 300
    assert found["across"] <= width
    assert {key: found[key] for key in ("dim", "wide", "cut", "over", "hidden")} == {
        key: [] for key in ("dim", "wide", "cut", "over", "hidden")
    }
    assert len(found["pictures"]) == 20
    for across, tall, shapes in found["pictures"]:
        assert across > 0.85 * min(width, 1088) - 20
        assert tall >= 40
        assert shapes > 2


def test_dark_is_dark_and_print_is_light(tab, pages):
    paper = "getComputedStyle(document.body).backgroundColor"
    seen = []
    for dark, media in ((False, ""), (True, ""), (True, "print")):
        tab.window(1280, dark=dark, media=media)
        tab.open(pages / "en.html")
        seen.append(tab.run(paper))
    assert seen == ["rgb(255, 255, 255)", "rgb(18, 22, 28)", "rgb(255, 255, 255)"]


def test_it_prints(tab, pages):
    tab.window(1280)
    tab.open(pages / "zh.html")
    found = tab.pdf()
    assert found.startswith(b"%PDF-")
    assert 5 < len(re.findall(rb"/Type\s*/Page\b", found)) < 30


def test_the_keyboard_reaches_everything(tab, pages):
    tab.window(1280)
    tab.open(pages / "en.html")
    reached = "[...document.querySelectorAll('a, summary, .scroll')].filter((each) => each.tabIndex < 0).length"
    assert tab.run(reached) == 0
    tab.call("Input.dispatchKeyEvent", type="keyDown", key="Tab", code="Tab", windowsVirtualKeyCode=9)
    assert tab.run("document.activeElement.className") == "skip"


def test_a_picture_alone_shows_itself(tab, pages):
    tab.window(800)
    tab.open(pages / "waits.svg")
    assert tab.complaints == []
    assert tab.run("document.querySelectorAll('path.line').length") == 3
    assert tab.run("getComputedStyle(document.querySelector('path.line')).stroke") != "none"


def test_the_measuring_finds_what_it_looks_for(tab, tmp_path):
    bad = """<!DOCTYPE html><title>bad</title><body style="background:#fff">
      <p style="color:#aaa">pale</p><p style="width:3000px">wide</p>
      <p style="width:50px;overflow:hidden;white-space:nowrap">hidden because it is too long</p>
      <svg class="plot" style="width:300px;height:60px;overflow:visible">
      <text class="tick" x="10" y="30">one tick</text><text class="tick" x="20" y="30">another</text>
      <text x="290" y="50">beyond the edge</text><rect width="5" height="5"/></svg>"""
    (tmp_path / "bad.html").write_text(bad, encoding="utf-8")
    tab.window(1280)
    tab.open(tmp_path / "bad.html")
    found = json.loads(tab.run(MEASURE))
    assert [text for text, *_ in found["dim"]] == ["pale"]
    assert any("wide" in each for each in found["wide"])
    assert [text for text, *_ in found["cut"]] == ["beyond the edge"]
    assert found["over"] == [["one tick", "another"]]
    assert found["hidden"] == ["hidden because it is too long"]
    assert found["across"] > 1280
    (tmp_path / "loud.html").write_text(
        '<img src="http://127.0.0.1:9/x.png"><script>console.error("oh")</script>', encoding="utf-8"
    )
    tab.open(tmp_path / "loud.html")
    assert "http://127.0.0.1:9/x.png" in tab.requests
    assert any("oh" in each for each in tab.complaints)
