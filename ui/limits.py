"""Every bound of the app, in one place: what one visitor, and all of them together, can make the server do."""

RACERS = 8  # in one race; there are eight colours
SEEDS = 10  # in one race
STEPS = 5_000  # of one race
NUMBERS = 2_000_000  # weights of all runs of a race together; its state is a few times that
WORK = 100_000_000  # those weights times the batch: what one step costs, so that slices stay short
WORKERS = 2  # processes that train; one a core is best
TRAINING = 40  # slices and timings that may wait or be in work at the same time
CACHE_BYTES = 256 * 2**20  # all trajectories and states that are kept, by least recent use
SLICE_SECONDS = 0.040  # training between two looks at whose turn it is
LONE_SLICE_SECONDS = 0.075  # the same where nobody else waits: about as long as a browser takes to ask again
FIRST_SLICE_SECONDS = 0.008  # the first slice of a race is short: it is what an eye waits for
LOOKING_SECONDS = 2.0  # who pulled this long ago still looks at a race
KEPT_SECONDS = 30.0  # a race trained in part is kept this long after anybody looked at it
WAIT_SECONDS = 0.5  # how long a page's script waits for a slice before it answers without one
STUCK_SECONDS = 60.0  # a slice that takes this long hangs: its worker is ended, and its race given up
RETRIES = 3  # times a slice is tried again after its worker died
URL_CHARACTERS = 4_000  # of an address that is read; more is refused
LOSS_SAMPLES = 1_000  # points of a loss curve that travel to the browser
UPLOAD_MB = 10  # a text or table that a visitor brings
BROUGHT_BYTES = 200 * 10**6  # of all that visitors brought and still hold
AWAY_SECONDS = 130.0  # after which a visitor is gone with what was brought; Streamlit waits two minutes for a browser
SWEEP_SECONDS = 10.0  # between two looks at who is gone
OFFERED = 4  # texts and tables of one's own in a visitor's menu of problems
CHARACTERS = 1_000_000  # of a brought text that are used, its beginning; they are read in a second or two
PASTED = 200_000  # characters that may be pasted; a longer text is brought as a file
