#!/usr/bin/env python3
"""Uses the page of a running `albert serve` as a person would, in a headless Chromium, and checks
what it shows against what the server says when it is asked directly.

    pip install selenium                # and Chromium with its driver, from your system
    albert serve --model MODEL &        # or: python3 scripts/page/mock_server.py
    python3 scripts/page/test_page.py http://127.0.0.1:8080/ [--key KEY] [--screenshots DIR] [NAME ...]

Tasks that no loaded model can do are skipped, and said to be. With names, only the tests whose
names hold one of them run. --key must be the server's own; without it, what needs one is skipped.
CHROMIUM and CHROMEDRIVER name the programs, if they are elsewhere than in /usr/bin.
"""

import argparse
import json
import os
import subprocess
import sys
import time
import traceback

from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.common.by import By

from browser import TASKS, Browser, Skipped, console, percent, pictures, same, word

TOO_LONG = "word " * 6000 + "!too-long!"


def guesses(panel, model, text):
    answer = panel.ask({"model": model["id"], "texts": [text], "top_k": 8})
    return [[(word(one["token"]), percent(one["score"])) for one in mask["predictions"]] for mask in answer["results"][0]["masks"]]


def test_fill_mask_by_pointing(browser):
    panel = browser.open("fill-mask")
    for model in browser.able("fill-mask"):
        panel.pick(model)
        panel.write("textarea", "The river runs through the city's heart.")
        words = panel.all("button.word")
        same([one.text for one in words], ["The", "river", "runs", "through", "the", "city's", "heart"])
        ActionChains(browser.driver).move_to_element(words[5]).perform()
        panel.answered()
        same(words[5].get_attribute("aria-pressed"), "true")
        same(panel.bars(), guesses(panel, model, "The river runs through the [MASK] heart.")[0])
        ActionChains(browser.driver).move_to_element(words[1]).perform()
        browser.until(lambda: words[1].get_attribute("aria-pressed") == "true", "the next word to be hidden")
        wanted = guesses(panel, model, "The [MASK] runs through the city's heart.")[0]
        browser.until(lambda: panel.bars() == wanted, "its guesses")
        ActionChains(browser.driver).move_to_element(browser.one(".brand")).perform()


def test_fill_mask_by_keys(browser):
    panel = browser.open("fill-mask")
    model = browser.able("fill-mask")[0]
    panel.pick(model)
    panel.write("textarea", "The war began in 1914.")
    words = panel.all("button.word")
    browser.script("arguments[0].focus()", words[0])
    browser.press(Keys.ARROW_RIGHT, Keys.ENTER)
    panel.answered()
    same(browser.driver.switch_to.active_element.text, "war")
    same(panel.bars(), guesses(panel, model, "The [MASK] began in 1914.")[0])
    spoken = browser.one("#announce").get_attribute("textContent")
    same(spoken, ", ".join(panel.bars()[0]))
    browser.press(Keys.ESCAPE)
    same([one.get_attribute("aria-pressed") for one in words], ["false"] * 5)
    same(panel.bars(), [])


def test_fill_mask_written(browser):
    panel = browser.open("fill-mask")
    model = browser.able("fill-mask")[0]
    text = "She was born in [MASK] and lived in [MASK]."
    panel.write("textarea", text)
    panel.run()
    first, second = guesses(panel, model, text)
    same(panel.bars(".guesses section:nth-of-type(1) .bars"), first)
    same(panel.bars(".guesses section:nth-of-type(2) .bars"), second)
    same([gap.text for gap in panel.all(".gap")], [first[0][0], second[0][0]])
    panel.all(".guesses section:nth-of-type(1) .bars button")[1].click()
    filled = text.replace("[MASK]", first[1][0].removeprefix("-"), 1)
    same(panel.one("textarea").get_attribute("value"), filled)
    panel.answered()
    browser.until(lambda: panel.bars() == guesses(panel, model, filled)[0], "guesses for the gap that is left")


LIFE = ["He died in Vienna in 1827.", "He was born in Bonn in 1770.", "As a young man he moved to Vienna."]


def rows(panel):
    return [one.get_attribute("value") for one in panel.all(".sentences textarea")]


def fill_rows(panel, texts):
    panel.one(".example").click()  # the first example has three sentences
    for at, text in enumerate(texts):
        panel.write(f".sentences li:nth-child({at + 1}) textarea", text)


def neighbours(panel, model):
    texts = rows(panel)
    answer = panel.ask({"model": model["id"], "lists": [list(pair) for pair in zip(texts, texts[1:])]})
    return [percent(one["in_order"]) for one in answer["results"]]


def shown_neighbours(panel):
    return panel.browser.script("return [...arguments[0].querySelectorAll('.sentences li:not(:last-child) .follows:not([hidden]) b')]"
                                ".map((one) => one.textContent)", panel.root)


def test_order_by_the_model(browser):
    panel = browser.open("order")
    for model in browser.able("order"):
        panel.pick(model)
        fill_rows(panel, LIFE)
        panel.run()
        wanted = panel.ask({"model": model["id"], "lists": [LIFE]})["results"][0]
        same(rows(panel), wanted["texts"])
        same(panel.one(".verdict b").text, percent(wanted["score"]))
        browser.until(lambda: shown_neighbours(panel) == neighbours(panel, model), "the scores of the neighbours")


def test_order_of_two(browser):
    panel = browser.open("order")
    model = browser.able("order")[0]
    fill_rows(panel, LIFE)
    panel.one(".sentences li:nth-child(3) .away").click()
    same([one.is_enabled() for one in panel.all(".sentences .away")], [False, False])
    panel.run()
    wanted = panel.ask({"model": model["id"], "lists": [LIFE[:2]]})["results"][0]
    swapped = wanted["swapped"] > wanted["in_order"]
    same(rows(panel), LIFE[1::-1] if swapped else LIFE[:2])
    same(panel.one(".verdict b").text, percent(max(wanted["swapped"], wanted["in_order"])))


def test_order_by_keys(browser):
    panel = browser.open("order")
    model = browser.able("order")[0]
    fill_rows(panel, LIFE)
    browser.script("arguments[0].focus()", panel.one(".sentences li:nth-child(1) .grip"))
    browser.press(Keys.ARROW_DOWN, Keys.ARROW_DOWN)
    same(rows(panel), [LIFE[1], LIFE[2], LIFE[0]])
    same(browser.driver.switch_to.active_element.get_attribute("aria-label"), "Move sentence 3")
    same(browser.one("#announce").get_attribute("textContent"), "Now at place 3 of 3")
    browser.press(Keys.ARROW_UP)
    same(rows(panel), [LIFE[1], LIFE[0], LIFE[2]])
    panel.one(".sentences li:nth-child(1) .down").click()
    same(rows(panel), LIFE)
    browser.until(lambda: shown_neighbours(panel) == neighbours(panel, model), "the scores of the neighbours")


def test_order_by_dragging(browser):
    panel = browser.open("order")
    fill_rows(panel, LIFE)
    grips = panel.all(".grip")
    drag = ActionChains(browser.driver).click_and_hold(grips[2])
    for _ in range(8):
        drag.move_by_offset(0, -25)
    drag.release().perform()
    same(rows(panel), [LIFE[2], LIFE[0], LIFE[1]])
    browser.until(lambda: len(shown_neighbours(panel)) == 2, "scores after the drag")
    ActionChains(browser.driver).click_and_hold(panel.all(".grip")[0]).move_by_offset(0, 8).release().perform()
    same(rows(panel), [LIFE[2], LIFE[0], LIFE[1]])


def test_classify(browser):
    panel = browser.open("classify")
    text = "It isn't a <b>bad</b> film & I \"liked\" it."
    for model in browser.able("classify"):
        panel.pick(model)
        entails = any(label.lower().startswith("entail") for label in model["labels"])
        same(panel.one(".zero").is_displayed(), entails)
        panel.write("textarea", text)
        body = {"model": model["id"], "texts": [text]}
        if entails:
            panel.all("textarea")[2].clear()
            panel.all("textarea")[2].send_keys("praise\ncomplaint\n")
            body["labels"] = ["praise", "complaint"]
        panel.run()
        result = panel.ask(body)["results"][0]
        if any(not 0 <= score <= 1 for score in result["scores"].values()):
            same(panel.one(".numbers dd").text, f"{result['score']:.4f}")
            continue
        wanted = sorted(result["scores"].items(), key=lambda one: -one[1])
        # Labels of the same score may stand in either order.
        same(sorted(panel.bars()), sorted((label, percent(score)) for label, score in wanted))
        same([value for _, value in panel.bars()], [percent(score) for _, score in wanted])
        same(panel.one(".verdict b").text, result["label"])
        if entails:
            panel.one(".zero .tick").click()
            panel.run()
            holding = panel.ask({**body, "several": True})["results"][0]["labels"]
            same(panel.one(".verdict b").text, ", ".join(holding) or "None of the labels")
            panel.one(".zero .tick").click()
            continue
        shown = [one for one in panel.all(".bars li") if one.is_displayed()]
        same(len(shown), len(wanted) if len(wanted) < 10 else 8)
        if len(wanted) >= 10:
            panel.one(".more").click()
            same(len([one for one in panel.all(".bars li") if one.is_displayed()]), len(wanted))


# Characters beyond the first plane: two units of UTF-16, one character of the server.
NAMES = "🎻🎻 Marie Curie met Albert Einstein in Zürich and 𝒜da in Paris."


def test_tag(browser):
    panel = browser.open("tag")
    for model in browser.able("tag"):
        panel.pick(model)
        panel.write("textarea", NAMES)
        panel.run()
        entities = panel.ask({"model": model["id"], "texts": [NAMES]})["results"][0]["entities"]
        if not entities:
            assert "no entity" in panel.one(".empty").text
            continue
        marks = browser.script("return [...arguments[0].querySelectorAll('mark')].map((one) => [one.firstChild.data, one.dataset.label])", panel.root)
        same(marks, [[one["text"], one["label"]] for one in entities])
        passage = browser.script("const copy = arguments[0].querySelector('.passage').cloneNode(true);"
                                 "copy.querySelectorAll('small').forEach((one) => one.remove()); return copy.textContent", panel.root)
        same(passage, NAMES)
        same(panel.bars(), [(f"{one['text']} · {one['label']}", percent(one["score"])) for one in entities])
        kind = panel.one(".kind")
        kind.click()
        same(kind.get_attribute("aria-pressed"), "true")
        others = [one for one in entities if one["label"] != entities[0]["label"]]
        same(len(panel.all("mark.faint")), len(others))


def test_answer(browser):
    panel = browser.open("answer")
    context, question = f"{NAMES} She was born in Warsaw.", "Where was she born?"
    for model in browser.able("answer"):
        panel.pick(model)
        panel.write("textarea", context)
        panel.write("input", question)
        panel.run()
        body = {"model": model["id"], "questions": [{"question": question, "context": context}], "top_k": 4}
        result = panel.ask(body)["results"][0]
        same(panel.bars(), [(one["answer"], percent(one["score"])) for one in result["candidates"]])
        same(panel.one(".passage").get_attribute("textContent"), context)
        for rank, one in enumerate(result["candidates"]):
            marked = browser.script("return [...arguments[0].querySelectorAll('mark')].filter((one) => one.dataset.ranks.split(' ')"
                                    ".includes(arguments[1])).map((one) => one.textContent).join('')", panel.root, str(rank))
            same(marked, one["answer"])
        browser.script("arguments[0].focus()", panel.all(".bars button")[-1])
        assert panel.all("mark.pointed"), "no mark shows the answer that has the focus"
        panel.one(".tick").click()
        panel.run()
        result = panel.ask({**body, "no_answer": True})["results"][0]
        same(panel.one(".verdict").text, f"{result['answer'] or 'No answer in this text'} {percent(result['score'])}")
        panel.one(".tick").click()


def test_choose(browser):
    panel = browser.open("choose")
    for model in browser.able("choose"):
        panel.pick(model)
        panel.one(".example").click()
        panel.answered()
        [*_, more] = panel.all(".input .field button.quiet:not(.icon)")
        more.click()
        browser.press("They went home.")
        panel.one(".options li:nth-child(2) .away").click()
        panel.run()
        options = [one.get_attribute("value") for one in panel.all(".options input")]
        same(options[-1], "They went home.")
        same(len(options), 3)
        question = {"context": panel.one("textarea").get_attribute("value"), "question": panel.one(".input input").get_attribute("value"), "options": options}
        result = panel.ask({"model": model["id"], "questions": [question]})["results"][0]
        same(panel.bars(), [(text, percent(score)) for text, score in zip(options, result["scores"])])
        same(panel.one(".verdict").text, result["choice"])


def test_similarity(browser):
    panel = browser.open("similarity")
    texts = ["It rains.", "The sun is shining.", "There is a storm.", "He bought a car."]
    for model in browser.able("similarity"):
        panel.pick(model)
        panel.write("textarea", "\n".join(texts) + "\n\n")
        panel.run()
        scores = panel.ask({"model": model["id"], "texts": texts})["scores"]
        pairs = [(scores[a][b], a, b) for a in range(4) for b in range(a + 1, 4)]
        digits = 3 if max(pairs)[0] - min(pairs)[0] < 0.1 else 2
        table = [[cell.text for cell in row.find_elements(By.CSS_SELECTOR, "td")] for row in panel.all("tbody tr")]
        same(table, [["1" if a == b else f"{scores[a][b]:.{digits}f}" for b in range(4)] for a in range(4)])
        best, a, b = max(pairs)
        same(panel.one(".verdict").text, f"Most alike: {a + 1} and {b + 1} at {best:.{digits}f}")


def test_embeddings(browser):
    panel = browser.open("embeddings")
    for model in browser.able("embeddings"):
        panel.pick(model)
        panel.write("textarea", "It rains.\nThe sun shines.")
        panel.run()
        data = panel.ask({"model": model["id"], "input": ["It rains.", "The sun shines."]})["data"]
        same(panel.one(".verdict").text, f"2 × {len(data[0]['embedding'])} numbers")
        panel.all(".vectors button")[1].click()
        browser.until(lambda: "Copied" in panel.all(".vectors button")[1].text, "the copy")
        same(json.loads(browser.copied()), data[1]["embedding"])


def test_curl(browser):
    panel = browser.open(next(task for task in TASKS if browser.able(task)))
    if panel.task == "fill-mask":
        panel.write("textarea", "It's Ada's [MASK], isn't it?")
    panel.one(".curl summary").click()
    command = browser.until(lambda: panel.one(".curl code").get_attribute("textContent"), "the command")
    button = panel.one(".command button")
    # As it is over plain HTTP from another machine: the clipboard is closed to scripts.
    browser.script("navigator.clipboard.writeText = () => Promise.reject(new Error('closed'))")
    button.click()
    browser.until(lambda: browser.copied() == command, "the copy by the older way")
    browser.script("delete navigator.clipboard.writeText; return navigator.clipboard.writeText('')")
    button.click()
    browser.until(lambda: browser.copied() == command, "the copy")
    assert not browser.key or browser.key not in command, "the key is in the command"
    done = subprocess.run(["sh", "-c", command.replace("curl ", "curl -sS ", 1)], capture_output=True, text=True,
                          env={**os.environ, "ALBERT_API_KEY": browser.key or ""})
    assert done.returncode == 0, done.stderr
    body = json.loads(command.split("-d '")[1].rsplit("'", 1)[0].replace("'\\''", "'"))
    wanted = panel.ask(body)
    same({k: v for k, v in json.loads(done.stdout).items() if k != "usage"}, {k: v for k, v in wanted.items() if k != "usage"})


def test_escaping(browser):
    hostile = "<img src=x onerror=alert(1)> <script>alert(1)</script> </textarea><b>it</b>"
    fields = {"fill-mask": f"{hostile} [MASK]", "similarity": f"{hostile}\n{hostile}b", "embeddings": hostile}
    for task in [task for task in TASKS if browser.able(task)]:
        panel = browser.open(task)
        for at in range(len(panel.all("form textarea"))):
            css = "form textarea" if at == 0 else f".sentences li:nth-child({at + 1}) textarea"
            if at == 0 or task == "order":
                panel.write(css, fields.get(task, f"{hostile} {at}"))
        panel.run()
        same(panel.all("img, script, form b, .output a, .stage b"), [])
        same(browser.script("return document.querySelectorAll('script').length"), 1)


def test_errors(browser):
    panel = browser.open("fill-mask" if browser.able("fill-mask") else "classify")
    panel.write("textarea", "   ")
    panel.one(".primary").click()
    assert panel.error().startswith("Write a"), panel.error()
    text = f"{TOO_LONG} [MASK]"
    panel.write("textarea", text)
    panel.one(".primary").click()
    said = panel.ask({"model": browser.able(panel.task)[0]["id"], "texts": [text], "top_k": 8})["error"]
    browser.until(lambda: panel.error().startswith(said["message"]), f"the message: {said['message']}")
    assert str(said["code"]) in panel.error(), panel.error()
    same(panel.one(".error").get_attribute("role"), "alert")
    panel.one(".example:last-child").click()
    panel.answered()


def test_tabs(browser):
    browser.open()
    able = [task for task in TASKS if browser.able(task)]
    tabs = browser.all("[role=tab]")
    same([one.get_attribute("id").removeprefix("tab-") for one in tabs], able)
    browser.script("arguments[0].focus()", tabs[0])
    for task in [*able[1:], able[0]]:
        browser.press(Keys.ARROW_RIGHT)
        same([one.get_attribute("id") for one in browser.all("[role=tabpanel]") if one.is_displayed()], [f"panel-{task}"])
        same(browser.driver.switch_to.active_element.get_attribute("id"), f"tab-{task}")
    browser.press(Keys.END)
    assert browser.driver.current_url.endswith(f"#{able[-1]}"), browser.driver.current_url
    browser.driver.refresh()
    browser.until(lambda: browser.all(f"#tab-{able[-1]}[aria-selected=true]"), "the tab of the address")


def test_narrow(browser):
    browser.screen(360, 740)
    try:
        for task in [task for task in TASKS if browser.able(task)]:
            panel = browser.open(task)
            panel.one(".example:last-child").click()
            if task == "order" or (task == "fill-mask" and not panel.all(".gap")):
                continue
            panel.answered()
            same(browser.script("return document.documentElement.scrollWidth"), 360)
    finally:
        browser.screen()


def test_themes(browser):
    browser.open()
    ground = lambda: browser.script("return getComputedStyle(document.body).backgroundColor")
    light = ground()
    browser.screen(dark=True)
    dark = ground()
    assert light != dark, "the dark of the system changes nothing"
    button = browser.one("#theme")
    button.click()
    same([button.get_attribute("aria-label"), ground()], ["Theme: light", light])
    browser.screen()
    button.click()
    same([button.get_attribute("aria-label"), ground()], ["Theme: dark", dark])
    browser.driver.refresh()
    same(ground(), dark)
    browser.one("#theme").click()
    same(ground(), light)


def test_stats(browser):
    browser.open()
    browser.until(lambda: browser.one("#live").is_displayed(), "the throughput")
    facts = browser.script("return [...document.querySelectorAll('#stats dt')].map((one) => one.textContent)")
    same(facts, ["Queue", "Requests", "Memory", "Up for"])
    asked = lambda: browser.script("return performance.getEntriesByType('resource').filter((one) => one.name.endsWith('/v1/stats')).length")
    before = asked()
    browser.until(lambda: asked() >= before + 2, "the next questions")
    browser.script("Object.defineProperty(document, 'hidden', {value: true, configurable: true}); document.dispatchEvent(new Event('visibilitychange'))")
    time.sleep(0.5)
    hidden = asked()
    time.sleep(5)
    same(asked(), hidden)
    browser.script("delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))")
    browser.until(lambda: asked() > hidden, "questions once it is seen again")


def test_routes(browser):
    browser.driver.get(browser.url + "docs")
    paths = browser.ask("openapi.json")["paths"]
    wanted = [path for path, verbs in paths.items() for verb in verbs if verb in ("get", "post", "put", "delete")]
    browser.until(lambda: browser.all(".routes details"), "the routes")
    shown = [one.text for one in browser.all(".routes summary code")]
    same(sorted(shown), sorted(wanted))
    for summary in browser.all(".routes summary"):
        summary.click()
    browser.until(lambda: len(browser.all(".about")) == len(wanted), "what each route takes")
    browser.one("#find").send_keys(wanted[0])
    assert 0 < len([one for one in browser.all(".routes summary") if one.is_displayed()]) <= len(wanted)


def test_key(browser):
    if not browser.key:
        raise Skipped("no --key")
    browser.driver.get(browser.url)
    browser.script("sessionStorage.clear()")
    browser.driver.refresh()
    dialog = browser.one("#key")
    browser.until(dialog.is_displayed, "the question for the key")
    browser.one("#key-text").send_keys("wrong")
    browser.press(Keys.ENTER)
    browser.until(lambda: browser.one("#key-error").is_displayed(), "the refusal of a wrong key")
    browser.one("#key-text").send_keys(browser.key)
    browser.press(Keys.ENTER)
    browser.until(lambda: browser.all("[role=tab]"), "the tasks")
    same(browser.script("return sessionStorage.getItem('albert-key')"), browser.key)
    browser.one("#forget").click()
    same(browser.script("return sessionStorage.getItem('albert-key')"), None)
    browser.driver.get_log("browser")  # a 401 is written into the console


def test_nothing_from_elsewhere(browser):
    browser.open()
    origin = browser.script("return location.origin")
    names = browser.script("return performance.getEntriesByType('resource').map((one) => one.name)")
    same([name for name in names if not name.startswith(origin)], [])
    page = [name.rsplit("/", 1)[1] for name in names if name.endswith((".js", ".css", ".svg"))]
    assert {"style.css", "app.js", "icon.svg"} <= set(page), page


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("names", nargs="*")
    parser.add_argument("--key")
    parser.add_argument("--screenshots", metavar="DIR")
    arguments = parser.parse_intermixed_args()
    tests = [test for name, test in globals().items() if name.startswith("test_")]
    tests = [test for test in tests if not arguments.names or any(name in test.__name__ for name in arguments.names)]
    browser = Browser(arguments.url, arguments.key)
    failed = 0
    try:
        browser.screen()
        for test in tests:
            try:
                test(browser)
                same(console(browser), [])
                print(f"ok       {test.__name__}", flush=True)
            except Skipped as reason:
                print(f"skipped  {test.__name__}: {reason}", flush=True)
            except Exception:
                failed += 1
                print(f"FAILED   {test.__name__}\n{traceback.format_exc()}", flush=True)
                console(browser)
        if arguments.screenshots:
            pictures(browser, arguments.screenshots)
    finally:
        browser.close()
    print(f"{failed} of {len(tests)} failed" if failed else f"all {len(tests)} passed or were skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
