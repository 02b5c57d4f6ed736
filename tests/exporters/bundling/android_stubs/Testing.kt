package androidx.test.platform.app

import android.content.Context

class Instrumentation {
    val context: Context get() = TODO()
    val targetContext: Context get() = TODO()
}

object InstrumentationRegistry {
    @JvmStatic fun getInstrumentation(): Instrumentation = TODO()
}
