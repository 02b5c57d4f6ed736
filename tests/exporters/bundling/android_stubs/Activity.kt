@file:Suppress("UNUSED_PARAMETER")

package android.app

import android.content.Context
import android.content.res.AssetManager
import android.os.Bundle
import android.view.View

open class Activity : Context() {
    override val assets: AssetManager get() = TODO()
    protected open fun onCreate(savedInstanceState: Bundle?) = Unit
    protected open fun onDestroy() = Unit
    fun setContentView(view: View) = Unit
    fun runOnUiThread(action: Runnable) = Unit
}
