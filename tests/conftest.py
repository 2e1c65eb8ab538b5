"""What holds for every test."""

import signal

# A runner that was started in the background ignores Ctrl-C and hands that on to its children, some of which tests
# interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
