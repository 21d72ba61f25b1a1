"""Test the notebooks in a real browser: in JupyterLab, and as pages.

On Debian, the tests need the packages chromium and chromium-driver.
"""

import shutil
import signal

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

import convert
from running import PATIENCE
from support import copy_workshop, start_python

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (BROWSER and DRIVER), reason="needs chromium"),
]
OPTIONS = """headless no-sandbox disable-gpu no-first-run disable-sync
disable-background-networking disable-component-update"""
PHONE = {"width": 380, "height": 800, "deviceScaleFactor": 1, "mobile": False}
IS_READY = """
const panel = window.jupyterapp?.shell.currentWidget;
return panel?.sessionContext?.session?.kernel?.status === "idle";
"""
RUN_ALL = """
const { commands, shell } = window.jupyterapp;
const content = shell.currentWidget.content;
commands.execute("notebook:run-all-cells").then(() => {
  const cells = content.model.sharedModel.cells.map(cell => cell.toJSON());
  const explorer = cells.findIndex(cell => cell.source.startsWith("explore("));
  content.activeCellIndex = explorer;
  content.scrollToItem(explorer);
  arguments[0](cells.flatMap(cell => cell.outputs ?? []));
});
"""


@pytest.fixture
def browser(tmp_path):
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for option in [*OPTIONS.split(), f"user-data-dir={tmp_path / 'user'}"]:
        options.add_argument(f"--{option}")
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    driver.set_script_timeout(PATIENCE)
    # JupyterLab has a current notebook only while its window has the focus.
    focus = {"enabled": True}
    driver.execute_cdp_cmd("Emulation.setFocusEmulationEnabled", focus)
    yield driver
    driver.quit()


def find(browser, css):
    """Return the elements, once there are any."""
    wait = WebDriverWait(browser, PATIENCE)
    return wait.until(lambda _: browser.find_elements(By.CSS_SELECTOR, css))


def test_jupyterlab_runs_a_notebook_and_its_explorer(browser, tmp_path):
    copy_workshop(tmp_path, "notebooks")
    command = ["notebooks/lab.py", "--no-browser", "--allow-root", "--port=0"]
    command += ["--LabApp.expose_app_in_browser=True"]
    lab = start_python(*command, cwd=tmp_path)
    try:
        lines = (line.strip() for line in lab.stderr)
        browser.get(next(x for x in lines if x.startswith("http://127.")))
        ready = WebDriverWait(browser, PATIENCE)
        ready.until(lambda _: browser.execute_script(IS_READY))
        outputs = browser.execute_async_script(RUN_ALL)
        kinds = {output["output_type"] for output in outputs}
        assert kinds == {"stream", "display_data"}
        # Only the fields of width and num_steps go up to 400.
        field, _ = find(browser, '.widget-text input[max="400"]')
        for width in (1, 40, 400):
            field.send_keys(Keys.CONTROL, "a")
            field.send_keys(str(width), Keys.ENTER)
            (picture,) = find(browser, f'img[alt*="width {width},"]')
            assert picture.get_property("naturalWidth") == width
    finally:
        lab.terminate()
        lab.communicate(timeout=60)
    assert lab.returncode == -signal.SIGTERM


def test_pages_fit_a_phone(browser, run_notebook, tmp_path):
    notebooks = {n: convert.make_notebook(n) for n in convert.NAMES}
    notebooks["1_port"] = run_notebook("1_port")
    convert.write_pages(tmp_path, notebooks, address="")
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE)
    for page in tmp_path.glob("*.html"):
        browser.get(page.as_uri())
        (whole,) = find(browser, "html")
        assert whole.get_property("scrollWidth") <= PHONE["width"]
