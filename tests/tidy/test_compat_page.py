"""docs/consul-compatibility.md says what is served."""

from registry.api.routes import ROUTES
from tests.tidy import compat_page


def test_the_page_is_that_of_the_routes() -> None:
    told = "routes have changed: run `python -m tests.tidy.compat_page` and commit the page"
    assert compat_page.PAGE.read_text() == compat_page.page(), told


def test_every_route_is_on_the_page() -> None:
    assert compat_page.unlisted() == [], "add these to GROUPS in tests/tidy/compat_page.py"


def test_notes_are_about_what_is_there() -> None:
    listed = {line.split(" ")[1] for group in compat_page.GROUPS for line in group.endpoints}
    assert set(compat_page.NOTES) <= listed
    assert set(compat_page.REASONS) <= listed
    served = {route.path for route in ROUTES}
    assert set(compat_page.NOTES) <= served
    assert not served & set(compat_page.REASONS)
