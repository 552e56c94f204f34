"""`guard bench`: what the guard costs on this machine, each figure beside its yardstick.

Machines are noisy: what is compared is measured in turns, in one run, and the ratios are what to
read.

    texts.py        what is asked: texts of a length, and of a mix of lengths
    bare.py         the yardstick: the model's own session with nothing around it
    ceiling.py      the yardstick's yardstick: what this processor multiplies in a second
    latency.py      one caller
    peers.py        other guards' architectures, with random weights
    throughput.py   many callers, in this process and over HTTP
    load.py         callers who do not wait for each other
    loop.py         how long an event loop stands still
    growth.py       long texts, and long chats
    start.py        processes: how long they take to start
    size.py         the disk: what lies on it
    memory.py       a serving process: what it holds
    device.py       torch on a device
    training.py     the training loop
    profile.py      where the time of one request goes
    parts.py        these by name, with what they are told
    plot.py         the same as a picture
    http_server.py  a guarded application in a process of its own
    http_driver.py  those who call it, in another one
"""
