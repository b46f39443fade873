/* The three numbers of a Meter: written by a loop without the GIL, read by any thread at any time.
 *
 * Relaxed order is enough: no number guards other data.
 */
#ifndef HV_METER_H
#define HV_METER_H

#include <stdint.h>

typedef struct {
    int64_t moved;
    int32_t cancelled;
    int32_t storing;
} hv_meter;

#if defined(_MSC_VER) && !defined(__clang__)

#include <intrin.h>

static __inline void hv_meter_add(hv_meter *meter, int64_t bytes)
{
    _InterlockedExchangeAdd64(&meter->moved, bytes);
}

static __inline int64_t hv_meter_moved(hv_meter *meter)
{
    return _InterlockedExchangeAdd64(&meter->moved, 0);
}

static __inline void hv_meter_cancel(hv_meter *meter)
{
    _InterlockedExchange((volatile long *)&meter->cancelled, 1);
}

static __inline int hv_meter_cancelled(hv_meter *meter)
{
    return *(volatile int32_t *)&meter->cancelled;
}

static __inline void hv_meter_store(hv_meter *meter, int storing)
{
    _InterlockedExchange((volatile long *)&meter->storing, storing);
}

static __inline int hv_meter_storing(hv_meter *meter)
{
    return *(volatile int32_t *)&meter->storing;
}

#else

static inline void hv_meter_add(hv_meter *meter, int64_t bytes)
{
    __atomic_fetch_add(&meter->moved, bytes, __ATOMIC_RELAXED);
}

static inline int64_t hv_meter_moved(hv_meter *meter)
{
    return __atomic_load_n(&meter->moved, __ATOMIC_RELAXED);
}

static inline void hv_meter_cancel(hv_meter *meter)
{
    __atomic_store_n(&meter->cancelled, 1, __ATOMIC_RELAXED);
}

static inline int hv_meter_cancelled(hv_meter *meter)
{
    return __atomic_load_n(&meter->cancelled, __ATOMIC_RELAXED);
}

static inline void hv_meter_store(hv_meter *meter, int storing)
{
    __atomic_store_n(&meter->storing, storing, __ATOMIC_RELAXED);
}

static inline int hv_meter_storing(hv_meter *meter)
{
    return __atomic_load_n(&meter->storing, __ATOMIC_RELAXED);
}

#endif

#endif
