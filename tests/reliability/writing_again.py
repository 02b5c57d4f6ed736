"""Write a file over and over: `python writing_again.py PATH LETTER TIMES`."""

import sys

from exporters.whole_file import write_whole

if __name__ == "__main__":
    path, letter, times = sys.argv[1:]
    for _ in range(int(times)):
        write_whole(path, letter.encode() * 200_000)
