// The signatures of com.google.ai.edge.litert:litert:2.3.0 that the app uses, from its reference
// (ai.google.dev/edge/litert).
@file:Suppress("UNUSED_PARAMETER")

package com.google.ai.edge.litert

import android.content.res.AssetManager

enum class Accelerator { NONE, CPU, GPU, NPU }

class TensorBuffer internal constructor() : AutoCloseable {
    fun writeInt(data: IntArray) = Unit
    fun writeFloat(data: FloatArray) = Unit
    fun writeInt8(data: ByteArray) = Unit
    fun writeBoolean(data: BooleanArray) = Unit
    fun writeLong(data: LongArray) = Unit
    fun readInt(): IntArray = TODO()
    fun readFloat(): FloatArray = TODO()
    fun readInt8(): ByteArray = TODO()
    fun readBoolean(): BooleanArray = TODO()
    fun readLong(): LongArray = TODO()
    override fun close() = Unit
}

class Environment internal constructor()

class CompiledModel private constructor() : AutoCloseable {
    class Options(accelerators: Set<Accelerator>) {
        constructor(vararg accelerators: Accelerator) : this(setOf(*accelerators))
    }

    fun createInputBuffers(signatureIndex: Int = 0): List<TensorBuffer> = TODO()
    fun createOutputBuffers(signatureIndex: Int = 0): List<TensorBuffer> = TODO()
    fun run(
        inputs: List<TensorBuffer>, outputs: List<TensorBuffer>, signatureIndex: Int = 0) = Unit
    override fun close() = Unit

    companion object {
        @JvmStatic
        fun create(
            assetManager: AssetManager,
            assetName: String,
            options: Options = Options(Accelerator.CPU),
            optionalEnv: Environment? = null,
        ): CompiledModel = TODO()
    }
}
