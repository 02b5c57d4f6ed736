package android.graphics

/** An image of these colours, which a test looks at: scaling it returns it. */
class Bitmap(private val colours: IntArray) {
    fun getPixels(
        pixels: IntArray, offset: Int, stride: Int, x: Int, y: Int, width: Int, height: Int) {
        require(stride == width && x == 0 && y == 0 && width * height == colours.size)
        colours.copyInto(pixels, offset)
    }

    fun recycle() = Unit

    companion object {
        @JvmStatic
        @Suppress("UNUSED_PARAMETER")
        fun createScaledBitmap(src: Bitmap, dstWidth: Int, dstHeight: Int, filter: Boolean) = src
    }
}
