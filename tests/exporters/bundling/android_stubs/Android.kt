// The signatures of Android that the app uses, from its reference (developer.android.com).
@file:Suppress("UNUSED_PARAMETER")

package android.content

import android.content.res.AssetManager

abstract class Context {
    abstract val assets: AssetManager
}
