"""Numbers as the command line writes them: see :mod:`rowmill.figures`."""

from rowmill.counted import beside as beside
from rowmill.figures import count as count
from rowmill.figures import duration as duration
from rowmill.figures import money as money
from rowmill.figures import plural as plural
from rowmill.figures import rate as rate
from rowmill.figures import share as share
from rowmill.figures import short_count as short_count
from rowmill.figures import short_duration as short_duration
