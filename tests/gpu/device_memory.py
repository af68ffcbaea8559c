"""Memory of a GPU, asked of and taken from its driver without any toolkit."""

import ctypes
import sys
import time

MIB = 2**20


def _driver() -> ctypes.CDLL:
    """The driver, with the device's own context current."""
    driver, context, device = ctypes.CDLL("libcuda.so.1"), ctypes.c_void_p(), ctypes.c_int()
    _check(driver.cuInit(0))
    _check(driver.cuDeviceGet(ctypes.byref(device), 0))
    _check(driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), device))
    _check(driver.cuCtxSetCurrent(context))
    return driver


def _check(error: int) -> None:
    if error:
        raise RuntimeError(f"the driver says {error}")


def free_mib() -> int:
    """What is free on the first GPU."""
    driver, free, total = _driver(), ctypes.c_size_t(), ctypes.c_size_t()
    _check(driver.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total)))
    return free.value // MIB


def take_all_but(left_mib: int) -> None:
    """Take the first GPU's memory, say so, and keep it until somebody ends this process."""
    driver, place = _driver(), ctypes.c_ulonglong()
    while (size := free_mib() - left_mib) > 0:
        if driver.cuMemAlloc_v2(ctypes.byref(place), ctypes.c_size_t(min(size, 1024) * MIB)):
            break
    print("taken", flush=True)
    time.sleep(600)


if __name__ == "__main__":
    take_all_but(int(sys.argv[1]))
