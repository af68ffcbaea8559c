"""
What reads uploads imports this before pyarrow, all of whose memory is the system's from then on.

pyarrow's own pool has touched 50 MiB by the end of a Parquet file of which it never holds more than 11 at a time, and
each process that reads pays for its pages anew: a third of the seconds that such an upload takes.
"""

import os

os.environ["ARROW_DEFAULT_MEMORY_POOL"] = "system"
