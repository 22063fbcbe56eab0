import "./style.css";
import "./events.css";
import "./office.css";
import "./watch.css";

import { createApp } from "vue";

import App from "./App.vue";
import { i18n } from "./i18n";
import { speakOfFields } from "./validity";

speakOfFields();
createApp(App).use(i18n).mount("#app");
