/* Vector table and reset of a Cortex-M4 that QEMU's board mps2-an386 has. */
#include <stdint.h>

extern uint32_t stack_top;
extern int main(void);
extern void initialise_monitor_handles(void);

static void stop(void) {
  for (;;) {
  }
}

void _fini(void) {} /* the library's exit asks for it */

void reset(void) {
  initialise_monitor_handles(); /* semihosting: files and standard output of the host */
  main();
}

__attribute__((section(".vectors"), used)) static const void *const vectors[16] = {
    &stack_top, (const void *)reset, (const void *)stop, (const void *)stop,
};
