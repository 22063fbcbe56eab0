import "element-plus/theme-chalk/base.css";
import "element-plus/theme-chalk/dark/css-vars.css";
import "element-plus/theme-chalk/el-tree.css";
import "element-plus/theme-chalk/el-virtual-list.css";
import "./style.css";

import { createApp } from "vue";

import App from "./App.vue";
import { i18n } from "./i18n";

createApp(App).use(i18n).mount("#app");
