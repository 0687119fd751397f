"""When something is due: cron lines, intervals and single moments, in the time zones of people.

cronsim reads cron lines and finds the wall-clock times that match; what those mean where clocks are changed is decided
here, the same for lines with and without seconds. Moments are whole milliseconds since 1970 everywhere.
"""

from taskmesh.timetable.cron import Cron
from taskmesh.timetable.moments import Every, Once, Timetable, iso_text, moment_of, read_moment
from taskmesh.timetable.zones import LAST_MOMENT, zone_of

__all__ = ["LAST_MOMENT", "Cron", "Every", "Once", "Timetable", "iso_text", "moment_of", "read_moment", "zone_of"]
