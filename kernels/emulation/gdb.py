"""gdb commands for emulated kernels:  gdb -x kernels/emulation/gdb.py --args build/caltrop-emulate matmul

emu-where          the launch, the running thread, and where the other threads of the block wait
emu-thread N|X,Y,Z the stack of one thread: its number in the block, or its threadIdx
emu-break LINE X,Y,Z [X,Y,Z]
                   stop at FILE:LINE in that thread (of that block): a breakpoint with the condition spelled out
"""

import os

import gdb

SPACE = "caltrop::emu::"
OWN = "caltrop::emu::(anonymous namespace)::"
# Where caltrop_switch_stack (fiber.cpp) leaves the registers, from the stack pointer up.
SAVED = ["r15", "r14", "r13", "r12", "rbx", "rbp", "rip"]
STATES = {0: "not begun", 1: "running", 2: "waiting", 3: "ended"}


def value(name):
    return gdb.parse_and_eval(name)


def own(name):
    """A variable of the runtime's unnamed namespace."""
    symbol = gdb.lookup_static_symbol(OWN + name) or gdb.lookup_global_symbol(OWN + name)
    if symbol is None:
        raise gdb.GdbError("no emulated kernels in this program, or no debug information of their runtime")
    return symbol.value()


def coordinates(index):
    return "(%d,%d,%d)" % (index["x"], index["y"], index["z"])


def threads():
    if own("call") == 0:
        raise gdb.GdbError("no kernel runs now")
    data = own("threads")["_M_impl"]
    return data["_M_start"], data["_M_finish"] - data["_M_start"]


def site(thread):
    path = thread["site"]["file"].string()
    return "%s:%d" % (path.rsplit("/", 1)[-1], thread["site"]["line"])


class Where(gdb.Command):
    """The launch, the running thread, and where the other threads of the block wait."""

    def __init__(self):
        super().__init__("emu-where", gdb.COMMAND_STACK)

    def invoke(self, argument, from_tty):
        first, count = threads()
        current = int(own("current"))
        grid, block = value(SPACE + "gridDim"), value(SPACE + "blockDim")
        print("%s: grid %s, block %s" % (own("call")["op"].string(), coordinates(grid), coordinates(block)))
        print("thread %s of block %s runs (number %d)" % (
            coordinates(value(SPACE + "threadIdx")), coordinates(value(SPACE + "blockIdx")), current))
        places = {}
        for number in range(count):
            thread = first[number]
            state = int(thread["state"])
            if number == current:
                continue
            place = STATES[state]
            if state == 2:
                place = "waiting in %s at %s" % (thread["waits_at"].string(), site(thread))
            places.setdefault(place, []).append(number)
        for place, numbers in places.items():
            print("%4d %s: %s" % (len(numbers), place, ranges(numbers)))


def ranges(numbers):
    """0-3, 7, 9-31"""
    parts = []
    for number in numbers:
        if parts and parts[-1][1] == number - 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ", ".join("%d" % a if a == b else "%d-%d" % (a, b) for a, b in parts)


def number_of(text):
    first, count = threads()
    if "," not in text:
        number = int(text)
    else:
        at = [int(part) for part in text.split(",")] + [0, 0]
        block = value(SPACE + "blockDim")
        number = (at[2] * int(block["y"]) + at[1]) * int(block["x"]) + at[0]
    if not 0 <= number < count:
        raise gdb.GdbError("the block has threads 0 to %d" % (count - 1))
    return number


def show_frames():
    """The kernel's part of the stack: what calls it is the machinery of a launch."""
    frame, count = gdb.newest_frame(), 0
    while frame is not None and not (frame.name() or "std::").startswith("std::"):
        count += 1
        frame = frame.older()
    gdb.execute("backtrace %d" % count)


class Thread(gdb.Command):
    """The stack of one thread of the block: emu-thread N, or emu-thread X,Y,Z."""

    def __init__(self):
        super().__init__("emu-thread", gdb.COMMAND_STACK)

    def invoke(self, argument, from_tty):
        if not argument:
            raise gdb.GdbError("usage: emu-thread N, or emu-thread X,Y,Z")
        number = number_of(argument)
        thread = threads()[0][number]
        state = int(thread["state"])
        print("thread %s, number %d: %s" % (coordinates(thread["index"]), number, STATES[state]))
        if number == int(own("current")):
            show_frames()
        elif state == 2:
            self.show_stack(thread["fiber"])

    def show_stack(self, fiber):
        if not any(field.name == "pointer_" for field in fiber.type.target().fields()):
            raise gdb.GdbError("stacks of waiting threads are shown on x86-64 only")
        words = fiber["pointer_"].cast(gdb.lookup_type("unsigned long").pointer())
        gdb.execute("select-frame 0")
        names = SAVED + ["rsp"]
        before = {name: int(gdb.parse_and_eval("(unsigned long) $" + name)) for name in names}
        after = {name: int(words[i]) for i, name in enumerate(SAVED)}
        after["rsp"] = int(words) + 8 * len(SAVED)
        try:
            self.set_registers(after)
            show_frames()
        finally:
            self.set_registers(before)

    def set_registers(self, values):
        for name, number in values.items():
            gdb.execute("set $%s = %d" % (name, number), to_string=True)


class Break(gdb.Command):
    """emu-break FILE:LINE X,Y,Z [X,Y,Z]: stop there in this thread, of this block where one is given."""

    def __init__(self):
        super().__init__("emu-break", gdb.COMMAND_BREAKPOINTS, gdb.COMPLETE_LOCATION)

    def invoke(self, argument, from_tty):
        words = gdb.string_to_argv(argument)
        if not 2 <= len(words) <= 3:
            raise gdb.GdbError("usage: emu-break FILE:LINE X,Y,Z [X,Y,Z]")
        parts = []
        for name, text in zip(("threadIdx", "blockIdx"), words[1:]):
            for axis, number in zip("xyz", text.split(",")):
                # Quoted: unquoted, gdb 13 loses the condition when the program starts.
                parts.append("'%s%s'.%s == %d" % (SPACE, name, axis, int(number)))
        gdb.execute("break %s if %s" % (words[0], " && ".join(parts)))


Where()
Thread()
Break()
# Stepping goes through the kernel, not into the hooks that watch its accesses.
gdb.execute("skip -rfunction ^__tsan_", to_string=True)
gdb.execute("skip -rfunction ^__sanitizer_cov_", to_string=True)
# ccache hands out objects that another checkout compiled: their sources are found from this build's folder.
if gdb.current_progspace().filename:
    gdb.execute('directory "%s"' % os.path.dirname(gdb.current_progspace().filename), to_string=True)
