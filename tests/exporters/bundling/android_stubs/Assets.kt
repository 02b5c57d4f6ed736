@file:Suppress("UNUSED_PARAMETER")

package android.content.res

import java.io.Closeable
import java.io.FileDescriptor
import java.io.InputStream

class AssetFileDescriptor : Closeable {
    val fileDescriptor: FileDescriptor get() = TODO()
    val startOffset: Long get() = TODO()
    val declaredLength: Long get() = TODO()
    override fun close() = Unit
}

class AssetManager {
    fun openFd(fileName: String): AssetFileDescriptor = TODO()
    fun open(fileName: String): InputStream = TODO()
}
